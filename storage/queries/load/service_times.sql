-- How long the images of one model take at each exit, in the setting of one of its cells: for a model
-- with gates as they were forced to each exit (exit_costs), for a static one as it was timed
-- (records); at batch 1, in unthrottled rounds of valid cells, and only images that were timed at
-- every exit. One row per round and image: exit_ms, in the order of the exits.
WITH
of_model AS (
    SELECT *, list_append(gates(exit_blocks, depth), depth - 1) AS all_exits
    FROM cells
    WHERE run_id = $run_id AND cell_id = $cell_id
),
source AS (
    SELECT k.run_id, k.cell_id, c.all_exits
    FROM of_model c
    JOIN cells k
        ON k.run_id = c.run_id
        AND k.kind = CASE WHEN len(c.all_exits) > 1 THEN 'exit_costs' ELSE 'latency' END
        AND k.batch_size = 1
        AND k.dataset IS NOT DISTINCT FROM c.dataset
        AND k.dataset_sha256 IS NOT DISTINCT FROM c.dataset_sha256
        AND same_setting(k, c)
    ANTI JOIN invalid_cells i ON i.run_id = k.run_id AND i.cell_id = k.cell_id
    ORDER BY k.position, k.cell_id
    LIMIT 1
),
times AS (
    SELECT run_id, cell_id, round, image_id, exit_block, forward_ms FROM exit_costs
    UNION ALL
    SELECT run_id, cell_id, round, image_id, exit_block, forward_ms FROM records
)
SELECT e.round, e.image_id,
    list(e.forward_ms ORDER BY e.exit_block) AS exit_ms,
    any_value(s.all_exits) AS exit_blocks
FROM source s
JOIN times e ON e.run_id = s.run_id AND e.cell_id = s.cell_id
ANTI JOIN throttled_rounds t
    ON t.run_id = e.run_id AND t.cell_id = e.cell_id AND t.round = e.round
WHERE list_contains(s.all_exits, e.exit_block)
GROUP BY e.round, e.image_id, s.all_exits
HAVING count(e.forward_ms) = len(s.all_exits)
ORDER BY e.round, e.image_id
