-- The time of each image when forced to each exit, for the all-exit passes of a run whose exit
-- costs are known (trusted_exit_costs.sql); in unthrottled rounds, and only images that were
-- timed at every exit. One row per cell, round and image: exit_ms, in the order of the exits.
SELECT t.run_id, t.cell_id, e.round, e.image_id,
    list(e.forward_ms ORDER BY e.exit_block) AS exit_ms, c.dataset_sha256
FROM trusted_exit_costs(run) t
JOIN cells c ON c.run_id = t.run_id AND c.cell_id = t.cell_id
JOIN exit_costs e ON e.run_id = t.run_id AND e.cell_id = t.costs_cell_id
ANTI JOIN throttled_rounds h
    ON h.run_id = e.run_id AND h.cell_id = e.cell_id AND h.round = e.round
WHERE t.exit_ms IS NOT NULL
    AND list_contains(list_append(gates(c.exit_blocks, c.depth), c.depth - 1), e.exit_block)
GROUP BY t.run_id, t.cell_id, t.exit_ms, c.dataset_sha256, e.round, e.image_id
HAVING count(e.forward_ms) = len(t.exit_ms)
