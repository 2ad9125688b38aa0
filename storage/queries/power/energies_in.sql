-- The energy per image, net of idle, in mJ, in each of the rounds that the energy of one run's
-- routed cells comes from (task_energies.sql); note: why it is NULL.
WITH
by_round AS (
    SELECT cell_id, node, round,
        by_time(power_w, power_us) AS power_w,
        by_time(idle_w, idle_us) AS idle_w,
        any_value(forward_ms) AS forward_ms
    FROM task_energies
    WHERE run_id = $run_id AND exit_block IS NULL
    GROUP BY cell_id, node, round
)
SELECT cell_id, node, round,
    above_idle_mj(power_w, idle_w, forward_ms) AS energy_mj,
    not_above_idle(power_w, idle_w) AS note
FROM by_round
WHERE power_w IS NOT NULL AND idle_w IS NOT NULL
ORDER BY cell_id, node, round
