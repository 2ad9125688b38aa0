-- The history of one model over all runs (trend.sql), in the settings and at the thresholds of one run's
-- rows, up to that run; on as many images, where both have an accuracy.
WITH
lines AS (FROM trend($model)),
here AS (FROM lines WHERE run_id = $run_id)
SELECT t.*
FROM lines t
SEMI JOIN here h
    ON h.dataset IS NOT DISTINCT FROM t.dataset
    AND h.dataset_sha256 IS NOT DISTINCT FROM t.dataset_sha256
    AND h.images IS NOT DISTINCT FROM t.images
    AND coalesce(h.accuracy_images = t.accuracy_images, true)
    AND h.device IS NOT DISTINCT FROM t.device
    AND h.node IS NOT DISTINCT FROM t.node
    AND h.runtime IS NOT DISTINCT FROM t.runtime
    AND h.precision IS NOT DISTINCT FROM t.precision
    AND h.threads IS NOT DISTINCT FROM t.threads
    AND h.batch_size IS NOT DISTINCT FROM t.batch_size
    AND h.threshold IS NOT DISTINCT FROM t.threshold
    AND h.thresholds IS NOT DISTINCT FROM t.thresholds
WHERE t.submitted_at <= (SELECT submitted_at FROM runs WHERE run_id = $run_id)
