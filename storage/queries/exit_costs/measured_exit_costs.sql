-- What each exit costs, for each all-exit pass of a run in whose setting it was measured image by
-- image: exit_ms has the mean forward_ms of every exit, the last block's last. Models with gates
-- were forced to each exit (exit_costs); a static model is timed as it is. If only invalid cells
-- (invalid_cells.sql) timed them, is_valid is false and the note says why.
WITH
passes AS (
    SELECT *, gates(exit_blocks, depth) AS gates, list_append(gates, depth - 1) AS all_exits
    FROM cells
    WHERE kind = 'exits' AND run_id = run_named(run)
),
means AS (
    SELECT run_id, cell_id, 'exit_costs' AS kind, exit_block, forward_ms FROM exit_means
    UNION ALL
    SELECT r.run_id, r.cell_id, 'latency', r.exit_block, avg(r.forward_ms)
    FROM records r
    ANTI JOIN throttled_rounds t
        ON t.run_id = r.run_id AND t.cell_id = r.cell_id AND t.round = r.round
    WHERE r.threshold IS NULL AND r.run_id = run_named(run)
    GROUP BY r.run_id, r.cell_id, r.exit_block
)
SELECT p.run_id, p.cell_id, k.cell_id AS costs_cell_id, p.all_exits,
    list(m.forward_ms ORDER BY m.exit_block) FILTER (m.forward_ms IS NOT NULL) AS exit_ms,
    i.cell_id IS NULL AS is_valid,
    i.note
FROM passes p
JOIN cells k
    ON k.run_id = p.run_id
    AND k.kind = CASE WHEN len(p.gates) > 0 THEN 'exit_costs' ELSE 'latency' END
    AND k.batch_size = 1
    AND k.dataset IS NOT DISTINCT FROM p.dataset
    AND k.dataset_sha256 IS NOT DISTINCT FROM p.dataset_sha256
    AND same_setting(k, p)
LEFT JOIN invalid_cells i ON i.run_id = k.run_id AND i.cell_id = k.cell_id
LEFT JOIN means m
    ON m.run_id = k.run_id AND m.cell_id = k.cell_id AND m.kind = k.kind
    AND list_contains(p.all_exits, m.exit_block)
GROUP BY p.run_id, p.cell_id, p.all_exits, k.position, k.cell_id, i.cell_id, i.note
HAVING count(m.forward_ms) = len(p.all_exits) OR i.cell_id IS NOT NULL
QUALIFY row_number() OVER (
    PARTITION BY p.run_id, p.cell_id ORDER BY i.cell_id IS NOT NULL, k.position, k.cell_id
) = 1
