-- The verdicts of one run.
FROM regressions WHERE run_id = $run_id
ORDER BY dataset, device, node, runtime, precision, threads, batch_size, model, threshold, metric
