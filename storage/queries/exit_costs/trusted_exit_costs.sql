-- The exit costs of each all-exit pass (measured_exit_costs.sql) that may be mixed into the latency
-- of any threshold: exit_ms is NULL where some routed threshold was composed wrongly, where the cell
-- that timed them is not valid, and where nothing was measured. The note says why, or what speaks
-- against them: that no routed threshold confirms them, or the conditions (conditions.sql), of which
-- power_mode is for who would compare them.
WITH
checks AS (
    SELECT run_id, exits_cell_id,
        bool_and(is_within) AS are_within,
        arg_max(error_pct, abs(error_pct)) AS worst_pct,
        any_value(tolerance_pct) AS tolerance_pct
    FROM composition(run)
    GROUP BY run_id, exits_cell_id
)
SELECT p.run_id, p.cell_id, c.costs_cell_id,
    CASE WHEN c.is_valid AND k.are_within IS NOT FALSE THEN c.exit_ms END AS exit_ms,
    o.power_mode,
    nullif(concat_ws('; ', CASE
        WHEN NOT c.is_valid THEN format('its times are not valid: {}', c.note)
        WHEN c.exit_ms IS NULL THEN 'exit costs were not measured at batch 1 (measure: [exit_costs])'
        WHEN NOT k.are_within THEN format(
            'composed of exit costs, a routed mean latency is missed by {:+.1f} %, more than {:.0f} %',
            k.worst_pct, k.tolerance_pct)
        WHEN k.are_within IS NULL AND len(c.all_exits) > 1
            THEN 'no routed threshold confirms the exit costs'
    END, CASE WHEN c.is_valid THEN o.note END), '') AS note
FROM cells p
LEFT JOIN measured_exit_costs(run) c ON c.run_id = p.run_id AND c.cell_id = p.cell_id
LEFT JOIN conditions o
    ON o.run_id = p.run_id AND o.cell_id = c.costs_cell_id AND o.node IS NOT DISTINCT FROM p.node
LEFT JOIN checks k ON k.run_id = p.run_id AND k.exits_cell_id = p.cell_id
WHERE p.kind = 'exits' AND p.run_id = run_named(run)
