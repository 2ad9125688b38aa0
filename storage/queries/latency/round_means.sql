-- The mean time of each unthrottled round of routed cells, newest run first, with all that a cell of
-- another run must have in common.
SELECT r.run_id, c.checkpoint_sha256, c.dataset_sha256, c.device, c.runtime, c.precision, c.threads,
    c.batch_size, c.images, c.thresholds, r.round,
    avg(r.forward_ms) AS mean_ms
FROM records r
JOIN cells c ON c.run_id = r.run_id AND c.cell_id = r.cell_id
JOIN runs s ON s.run_id = r.run_id
ANTI JOIN throttled_rounds t
    ON t.run_id = r.run_id AND t.cell_id = r.cell_id AND t.round = r.round
WHERE c.is_valid AND r.forward_ms IS NOT NULL
GROUP BY r.run_id, r.cell_id, s.submitted_at, c.checkpoint_sha256, c.dataset_sha256, c.device,
    c.runtime, c.precision, c.threads, c.batch_size, c.images, c.thresholds, r.round
ORDER BY s.submitted_at DESC, r.run_id, r.cell_id, r.round
