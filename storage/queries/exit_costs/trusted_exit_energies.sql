-- The exit energies of each all-exit pass (measured_exit_energies.sql) that may be mixed into the
-- energy at any threshold: exit_mj is NULL if the composed energy of a routed threshold is wrong,
-- or if nothing was measured. The note says why, or that no routed threshold confirms them.
WITH
checks AS (
    SELECT run_id, exits_cell_id,
        -- By the error alone: its interval is not known.
        composed_check(CASE WHEN is_within THEN 'within' WHEN NOT is_within THEN 'beyond' END,
            error_pct, NULL::DOUBLE, NULL::DOUBLE, tolerance_pct) AS checked
    FROM energy_composition(run)
    GROUP BY run_id, exits_cell_id
)
SELECT p.run_id, p.cell_id, e.costs_cell_id,
    CASE WHEN k.checked.verdict IS DISTINCT FROM 'beyond' THEN e.exit_mj END AS exit_mj,
    CASE WHEN k.checked.verdict IS DISTINCT FROM 'beyond' THEN e.exit_margin_mj END AS exit_margin_mj,
    s.energy_source,
    nullif(concat_ws('; ', e.note, CASE
        WHEN e.note IS NOT NULL AND e.exit_mj IS NULL THEN NULL
        WHEN e.exit_mj IS NULL
            THEN 'energy by exit was not measured at batch 1 (measure: [energy, exit_costs])'
        ELSE composed_note(k.checked, 'exit energies', 'energy', e.all_exits)
    END), '') AS note
FROM cells p
LEFT JOIN measured_exit_energies(run) e ON e.run_id = p.run_id AND e.cell_id = p.cell_id
LEFT JOIN energy_sources s
    ON s.run_id = p.run_id AND s.node = p.node AND e.cell_id IS NOT NULL
LEFT JOIN checks k ON k.run_id = p.run_id AND k.exits_cell_id = p.cell_id
WHERE p.kind = 'exits' AND p.run_id = run_named(run)
