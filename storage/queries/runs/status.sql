-- The cells of one run, in the order of its grid.
SELECT cell_id, kind, model, dataset, device, node, runtime, precision, threads,
    exit_blocks, threshold, thresholds, status,
    attempts, rows, images, rounds, is_valid, note, error, depth, batch_size,
    arrivals_per_s, max_rounds, until_pct, until_of, reached_pct
FROM cells
WHERE run_id = $run_id
ORDER BY position, cell_id
