-- Seconds per image in earlier runs, by all that determines it: the median over commits, so that a
-- warm-up or a busy host has little weight. For the planner's estimate of hours.
SELECT c.kind, c.checkpoint_sha256, c.model, c.device, c.runtime, c.precision, c.threads,
    c.batch_size,
    median(k.busy_s / k.rows) AS seconds_per_image,
    count(*) AS commits
FROM commits k
JOIN cells c USING (run_id, cell_id)
WHERE k.rows > 0 AND k.busy_s > 0
GROUP BY c.kind, c.checkpoint_sha256, c.model, c.device, c.runtime, c.precision, c.threads,
    c.batch_size
ORDER BY ALL
