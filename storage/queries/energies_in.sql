-- The energy of an image in each unthrottled round of one run's routed cells, net of idle, in mJ: power
-- while the round ran less power before and after, times the round's mean latency.
WITH
phases AS (
    SELECT cell_id, node, round, phase = 'active' AS is_active,
        by_time(power_w, duration_us) AS mean_w
    FROM power_windows
    WHERE run_id = $run_id AND exit_block IS NULL
    GROUP BY cell_id, node, round, is_active
),
means AS (
    SELECT cell_id, node, round,
        any_value(mean_w) FILTER (WHERE is_active) AS power_w,
        any_value(mean_w) FILTER (WHERE NOT is_active) AS idle_w
    FROM phases
    GROUP BY cell_id, node, round
),
times AS (
    SELECT cell_id, node, round, avg(forward_ms) AS forward_ms
    FROM records
    WHERE run_id = $run_id
    GROUP BY cell_id, node, round
)
SELECT t.cell_id, t.node, t.round, (m.power_w - m.idle_w) * t.forward_ms AS energy_mj
FROM means m JOIN times t USING (cell_id, node, round)
WHERE energy_mj IS NOT NULL
ORDER BY ALL
