-- The verdicts on each run.
FROM regressions
ORDER BY run_id, dataset, device, node, runtime, precision, threads, batch_size, model, threshold, metric
