-- Does mixing exit energies say what the meter said? Of each routed cell whose latency is held against
-- a composed one (composition.sql), the mean energy as routed beside the one composed of what leaving
-- at each exit takes and who left where. Beyond the tolerance what is composed is not to be believed
-- (trusted_exit_energies.sql).
WITH
checked AS MATERIALIZED (FROM composition(run)),
composed AS (
    SELECT c.run_id, c.cell_id, c.exits_cell_id,
        avg(e.exit_mj[list_position(e.all_exits, r.exit_block)]) AS composed_mj
    FROM checked c
    JOIN measured_exit_energies(run) e ON e.run_id = c.run_id AND e.cell_id = c.exits_cell_id
    JOIN records r ON r.run_id = c.run_id AND r.cell_id = c.cell_id AND r.forward_ms IS NOT NULL
    ANTI JOIN throttled_rounds t
        ON t.run_id = r.run_id AND t.cell_id = r.cell_id AND t.round = r.round
    GROUP BY c.run_id, c.cell_id, c.exits_cell_id
),
measured AS (
    SELECT c.* EXCLUDE (forward_ms, composed_ms, error_pct, is_within),
        (p.power_w - p.idle_w) * c.forward_ms AS energy_mj,
        m.composed_mj
    FROM checked c
    JOIN composed m
        ON m.run_id = c.run_id AND m.cell_id = c.cell_id AND m.exits_cell_id = c.exits_cell_id
    JOIN cell_powers p
        ON p.run_id = c.run_id AND p.cell_id = c.cell_id AND p.node IS NOT DISTINCT FROM c.node
)
SELECT *,
    100 * (composed_mj / energy_mj - 1) AS error_pct,
    abs(error_pct) <= tolerance_pct AS is_within
FROM measured
WHERE energy_mj > 0
