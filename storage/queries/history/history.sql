-- The history of one model over all runs (trend.sql), in the settings and at the thresholds of one run's
-- cells, up to that run.
WITH
here AS (
    SELECT DISTINCT dataset, dataset_sha256, images, device, node, runtime, precision, threads,
        batch_size, threshold, thresholds
    FROM cells
    WHERE run_id = $run_id AND model = $model AND kind IN ('exits', 'latency')
)
SELECT t.*
FROM trend($model) t
SEMI JOIN here h
    ON h.dataset IS NOT DISTINCT FROM t.dataset
    AND h.dataset_sha256 IS NOT DISTINCT FROM t.dataset_sha256
    AND h.images IS NOT DISTINCT FROM t.images
    AND h.device IS NOT DISTINCT FROM t.device
    AND h.node IS NOT DISTINCT FROM t.node
    AND h.runtime IS NOT DISTINCT FROM t.runtime
    AND h.precision IS NOT DISTINCT FROM t.precision
    AND h.threads IS NOT DISTINCT FROM t.threads
    AND h.batch_size IS NOT DISTINCT FROM t.batch_size
    AND h.threshold IS NOT DISTINCT FROM t.threshold
    AND h.thresholds IS NOT DISTINCT FROM t.thresholds
WHERE t.submitted_at <= (SELECT submitted_at FROM runs WHERE run_id = $run_id)
