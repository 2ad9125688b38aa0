-- The windows of one run whose power a meter's log can give, in the order of time: those recorded
-- without power (rows of `power` with power_mw NULL mark the begin and end of each), and, for cells
-- without such marks, each timed task from `rounds`, which has no idle windows. Rounds have no
-- shard: for them shard numbers the tasks of a round. has_power: a sensor measured the task, or a
-- log was imported for it.
WITH
marks AS (
    SELECT *,
        (row_number() OVER (
            PARTITION BY cell_id, round, shard, node, phase, exit_block ORDER BY sampled_at
        ) - 1) // 2 AS pair
    FROM power
    WHERE run_id = $run_id AND rail = 'total' AND power_mw IS NULL
),
windows AS (
    SELECT cell_id, round, shard, node, phase, exit_block,
        min(sampled_at) AS begins_at, max(sampled_at) AS ends_at
    FROM marks
    GROUP BY cell_id, round, shard, node, phase, exit_block, pair
    UNION ALL
    SELECT r.cell_id, r.round,
        (row_number() OVER (PARTITION BY r.cell_id, r.round ORDER BY r.started_at) - 1)::INTEGER,
        r.node, 'active', NULL, r.started_at, r.ended_at
    FROM rounds r
    JOIN cells c ON c.run_id = r.run_id AND c.cell_id = r.cell_id AND c.kind = 'latency'
    ANTI JOIN marks m ON m.cell_id = r.cell_id
    WHERE r.run_id = $run_id AND r.started_at IS NOT NULL AND r.ended_at IS NOT NULL
),
measured AS (
    SELECT DISTINCT cell_id, round, shard, node
    FROM power
    WHERE run_id = $run_id AND rail = 'total' AND power_mw IS NOT NULL
)
SELECT w.*, m.cell_id IS NOT NULL AS has_power
FROM windows w
LEFT JOIN measured m
    ON m.cell_id = w.cell_id AND m.round = w.round AND m.node = w.node
    AND (m.shard = w.shard OR m.shard IS NULL OR w.shard IS NULL)
ORDER BY w.begins_at, w.cell_id
