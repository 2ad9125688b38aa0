-- The only definition of a cell's energy, used wherever it is shown: (power - idle) x forward_ms,
-- all three over the same rounds (task_energies.sql). One row per routed cell and node (exit_block
-- NULL), and one per exit of a cell that forced exits. Powers are means by time, milliseconds means
-- over the images. reason: why energy_mj is NULL; note: the same, and whether only some rounds have
-- power. margin_mj is half a 95 % interval, by Student's t over the windows, each with its own idle
-- power and its round's mean time; NULL for a single window. If the rounds ended because figures were
-- known, it is wider by what was spent on looks (looked_margin.sql), and NULL below three rounds.
WITH
means AS (
    SELECT run_id, cell_id, node, exit_block,
        by_time(power_w, power_us) AS power_w,
        by_time(idle_w, idle_us) AS idle_w,
        sum(images * forward_ms) / sum(images) AS forward_ms,
        sum(images * elapsed_ms) / sum(images) AS elapsed_ms,
        count((power_w - idle_w) * forward_ms) AS windows,
        student_t(windows) * stddev_samp((power_w - idle_w) * forward_ms) / sqrt(windows)
            AS margin_mj,
        count(DISTINCT round) AS rounds,
        any_value(timed_rounds) AS timed_rounds
    FROM task_energies
    GROUP BY run_id, cell_id, node, exit_block
)
SELECT m.run_id, m.cell_id, m.node, m.exit_block, m.windows, m.rounds, m.timed_rounds,
    m.power_w, m.idle_w, m.forward_ms, m.elapsed_ms,
    above_idle_mj(power_w, idle_w, forward_ms) AS energy_mj,
    CASE WHEN energy_mj IS NOT NULL
        THEN m.margin_mj * looked_margin(l.rounds, m.windows, l.cell_id IS NOT NULL) END AS margin_mj,
    above_idle_mj(power_w, idle_w, elapsed_ms) AS energy_elapsed_mj,
    power_w * forward_ms AS energy_gross_mj,
    CASE
        WHEN power_w IS NULL THEN 'no power samples while it ran'
        WHEN idle_w IS NULL THEN 'no idle power samples, only gross energy is known'
        ELSE not_above_idle(power_w, idle_w)
    END AS reason,
    nullif(concat_ws('; ',
        'energy: ' || reason,
        CASE WHEN power_w IS NOT NULL THEN some_rounds(m.rounds, m.timed_rounds) END
    ), '') AS note
FROM means m
LEFT JOIN looked_rounds l ON l.run_id = m.run_id AND l.cell_id = m.cell_id
