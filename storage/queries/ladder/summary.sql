-- The ladder of each run with its speed-ups (speedups_of.sql), in the order of its grid, without
-- cells that were skipped; with the rounds of its cell, and what ended them. A cell that has not
-- begun has no node: it is shown with the others of its device, if these have one node.
WITH
hosts AS (
    SELECT run_id, device, any_value(node) AS only_node
    FROM cells
    GROUP BY run_id, device
    HAVING count(DISTINCT node) = 1
),
placed AS (
    SELECT l.* REPLACE (coalesce(l.node, h.only_node) AS node)
    FROM speedups_of((SELECT list(run_id) FROM runs)) l
    LEFT JOIN hosts h ON h.run_id = l.run_id AND h.device = l.device
)
SELECT l.*, r.baseline, c.rounds, c.max_rounds, c.until_pct, c.until_of, c.reached_pct
FROM placed l
JOIN runs r USING (run_id)
JOIN cells c USING (run_id, cell_id)
WHERE c.status IS DISTINCT FROM 'skipped' OR l.acc1 IS NOT NULL
ORDER BY l.run_id, l.dataset, l.device, l.node, l.runtime, l.precision, l.threads, l.batch_size,
    c.position
