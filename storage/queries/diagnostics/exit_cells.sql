-- The all-exit cells of a run: the columns that every diagnosis starts with, and the row order.
SELECT run_id, cell_id, model, dataset, device, node, runtime, precision, threads, batch_size,
    position
FROM cells
WHERE kind = 'exits' AND run_id = run_named(run)
