-- What leaving at each exit takes in energy: the power while images were forced out there, less the
-- idle power beside it, by the mean time that this takes (exit_means.sql). One row a cell, node and
-- exit with such windows. margin_mj is half a 95 % interval, by Student's t over the windows, each
-- with its own idle power and its round's mean time; NULL of a single window.
WITH
idles AS (
    SELECT run_id, cell_id, node, round, shard, by_time(power_w, duration_us) AS idle_w
    FROM power_windows
    WHERE phase != 'active'
    GROUP BY run_id, cell_id, node, round, shard
),
times AS (
    SELECT run_id, cell_id, round, exit_block, avg(forward_ms) AS forward_ms
    FROM exit_costs
    GROUP BY run_id, cell_id, round, exit_block
),
forced AS (
    SELECT w.*, i.idle_w,
        (w.power_w - i.idle_w) * t.forward_ms AS energy_mj
    FROM power_windows w
    LEFT JOIN idles i
        ON i.run_id = w.run_id AND i.cell_id = w.cell_id AND i.round = w.round
        AND i.node IS NOT DISTINCT FROM w.node AND i.shard IS NOT DISTINCT FROM w.shard
    LEFT JOIN times t
        ON t.run_id = w.run_id AND t.cell_id = w.cell_id AND t.round = w.round
        AND t.exit_block = w.exit_block
    WHERE w.phase = 'active' AND w.exit_block IS NOT NULL
),
means AS (
    SELECT run_id, cell_id, node, exit_block,
        count(energy_mj) AS windows,
        by_time(power_w, duration_us) AS power_w,
        by_time(idle_w, duration_us) AS idle_w,
        student_t(count(energy_mj)) * stddev_samp(energy_mj) / sqrt(count(energy_mj)) AS margin_mj
    FROM forced
    GROUP BY run_id, cell_id, node, exit_block
)
SELECT m.run_id, m.cell_id, m.node, m.exit_block, m.windows, m.power_w, m.idle_w, t.forward_ms,
    (m.power_w - m.idle_w) * t.forward_ms AS energy_mj,
    m.margin_mj,
    m.power_w * t.forward_ms AS energy_gross_mj
FROM means m
LEFT JOIN exit_means t
    ON t.run_id = m.run_id AND t.cell_id = m.cell_id AND t.exit_block = m.exit_block
