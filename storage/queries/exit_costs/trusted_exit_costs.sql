-- The exit costs of each all-exit pass (measured_exit_costs.sql), and whether the latency mixed from
-- them may be promised at any threshold: is_promised is false if the interval of the error of a
-- routed threshold is wholly beyond its tolerance; verdict and error are those of the worst routed
-- threshold (composition.sql), NULL if none was. exit_ms is NULL if the cell that timed them is not
-- valid, or if nothing was measured. The note says why, or gives a caveat: an error, no routed
-- threshold that confirms them, or the conditions (conditions.sql); compare power_mode before
-- comparing them.
WITH
checks AS (
    SELECT run_id, exits_cell_id,
        composed_check(verdict, error_pct, error_low_pct, error_high_pct, tolerance_pct) AS checked
    FROM composition(run)
    GROUP BY run_id, exits_cell_id
)
SELECT p.run_id, p.cell_id, c.costs_cell_id,
    CASE WHEN c.is_valid THEN c.exit_ms END AS exit_ms,
    CASE WHEN c.is_valid THEN k.checked.verdict IS DISTINCT FROM 'beyond' END AS is_promised,
    k.checked.verdict AS verdict,
    k.checked.error_pct AS error_pct,
    k.checked.low_pct AS error_low_pct,
    k.checked.high_pct AS error_high_pct,
    o.power_mode,
    nullif(concat_ws('; ', CASE
        WHEN NOT c.is_valid THEN format('its times are not valid: {}', c.note)
        WHEN c.exit_ms IS NULL THEN 'exit costs were not measured at batch 1 (measure: [exit_costs])'
        ELSE composed_note(k.checked, 'exit costs', 'latency', c.all_exits)
    END, CASE WHEN c.is_valid THEN o.note END), '') AS note
FROM cells p
LEFT JOIN measured_exit_costs(run) c ON c.run_id = p.run_id AND c.cell_id = p.cell_id
LEFT JOIN conditions o
    ON o.run_id = p.run_id AND o.cell_id = c.costs_cell_id AND o.node IS NOT DISTINCT FROM p.node
LEFT JOIN checks k ON k.run_id = p.run_id AND k.exits_cell_id = p.cell_id
WHERE p.kind = 'exits' AND p.run_id = run_named(run)
