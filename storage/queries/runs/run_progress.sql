-- One row per run, newest first: its name and state, and its cells by status.
SELECT r.run_id, r.name, r.status, r.submitted_at, r.finished_at,
    count(c.cell_id) AS cells,
    count(*) FILTER (WHERE c.status = 'queued') AS queued,
    count(*) FILTER (WHERE c.status = 'running') AS running,
    count(*) FILTER (WHERE c.status = 'done') AS done,
    count(*) FILTER (WHERE c.status = 'failed') AS failed,
    count(*) FILTER (WHERE c.status = 'skipped') AS skipped,
    count(*) FILTER (WHERE c.status = 'cancelled') AS cancelled,
    coalesce(any_value(k.rows), 0) AS rows
FROM runs r
LEFT JOIN cells c USING (run_id)
LEFT JOIN (SELECT run_id, sum(images)::BIGINT AS rows FROM committed GROUP BY run_id) k
    USING (run_id)
GROUP BY ALL
ORDER BY r.submitted_at DESC NULLS LAST, r.run_id DESC
