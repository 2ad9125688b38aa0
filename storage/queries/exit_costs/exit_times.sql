-- The samples from which the latency of one all-exit pass is composed (exit_samples.sql).
SELECT round, exit_ms
FROM exit_samples($run_id)
WHERE cell_id = $cell_id
ORDER BY round, image_id
