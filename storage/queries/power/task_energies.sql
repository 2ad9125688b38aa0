-- What the energy of a cell is computed from (cell_energies.sql): one row per timed task, and per
-- exit if the task forced exits. Its power while it ran, the idle power before and after the same
-- task, and the milliseconds of its round; power and milliseconds are from the same rounds, none of
-- them throttled. If some tasks of a cell have power and idle power and others lack one, only the
-- complete ones are included; if none is complete, those that have the most. images: the task's
-- share of those that its round timed. timed_rounds: the cell's rounds that have milliseconds, with
-- power or without.
WITH
idles AS (
    SELECT run_id, cell_id, node, round, shard,
        by_time(power_w, duration_us) AS idle_w,
        sum(duration_us) AS idle_us
    FROM power_windows
    WHERE phase != 'active'
    GROUP BY run_id, cell_id, node, round, shard
),
tasks AS MATERIALIZED (
    SELECT coalesce(a.run_id, i.run_id) AS run_id, coalesce(a.cell_id, i.cell_id) AS cell_id,
        coalesce(a.node, i.node) AS node, coalesce(a.round, i.round) AS round,
        coalesce(a.shard, i.shard) AS shard, a.exit_block,
        a.power_w, a.duration_us AS power_us, i.idle_w, i.idle_us
    FROM (FROM power_windows WHERE phase = 'active') a
    FULL JOIN idles i
        ON i.run_id = a.run_id AND i.cell_id = a.cell_id AND i.round = a.round
        AND i.node IS NOT DISTINCT FROM a.node AND i.shard IS NOT DISTINCT FROM a.shard
),
routed_times AS (
    SELECT run_id, cell_id, node, round, NULL::INTEGER AS exit_block,
        count(*) AS images, avg(forward_ms) AS forward_ms, avg(elapsed_ms) AS elapsed_ms
    FROM records
    SEMI JOIN tasks USING (run_id, cell_id)
    WHERE forward_ms IS NOT NULL
    GROUP BY run_id, cell_id, node, round
),
forced_times AS (
    SELECT run_id, cell_id, round, exit_block, count(*) AS images, avg(forward_ms) AS forward_ms
    FROM exit_costs
    SEMI JOIN tasks USING (run_id, cell_id)
    WHERE forward_ms IS NOT NULL
    GROUP BY run_id, cell_id, round, exit_block
),
times AS (
    SELECT *, count(*) OVER (PARTITION BY run_id, cell_id, node, exit_block) AS timed_rounds
    FROM (FROM routed_times UNION ALL BY NAME FROM forced_times)
    -- After grouping: a join of every row would take as long again.
    ANTI JOIN throttled_rounds USING (run_id, cell_id, round)
),
timed AS (
    SELECT p.*, t.images, t.forward_ms, t.elapsed_ms, t.timed_rounds
    FROM tasks p
    JOIN times t
        ON t.run_id = p.run_id AND t.cell_id = p.cell_id AND t.round = p.round
        AND t.exit_block IS NOT DISTINCT FROM p.exit_block
        -- exit_costs has no node.
        AND (t.node IS NOT DISTINCT FROM p.node OR t.exit_block IS NOT NULL)
)
SELECT * REPLACE (
    images / count(*) OVER (PARTITION BY run_id, cell_id, node, exit_block, round) AS images)
FROM timed
QUALIFY (power_w IS NOT NULL, idle_w IS NOT NULL) = max((power_w IS NOT NULL, idle_w IS NOT NULL))
    OVER (PARTITION BY run_id, cell_id, node, exit_block)
