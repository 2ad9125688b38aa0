-- The mean power of each routed cell on each node while it ran, and before and after, in watts: its
-- windows (power_windows.sql) by their time.
WITH
means AS (
    SELECT run_id, cell_id, node, phase = 'active' AS is_active,
        by_time(power_w, duration_us) AS mean_w
    FROM power_windows
    WHERE exit_block IS NULL
    GROUP BY run_id, cell_id, node, is_active
)
SELECT run_id, cell_id, node,
    any_value(mean_w) FILTER (WHERE is_active) AS power_w,
    any_value(mean_w) FILTER (WHERE NOT is_active) AS idle_w
FROM means
GROUP BY run_id, cell_id, node
