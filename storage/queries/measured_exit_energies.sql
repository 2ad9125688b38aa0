-- The energy of leaving at each exit, for each all-exit pass in whose setting what that costs was
-- timed (measured_exit_costs.sql): exit_mj has the mJ of every exit, the last block's last, exit_margin_mj
-- half their 95 % intervals. Of models with gates from forced exits (exit_energies.sql), of a static
-- model as it is routed. No row where an exit's energy is not known.
WITH
costs AS MATERIALIZED (FROM measured_exit_costs(run)),
energies AS (
    SELECT run_id, cell_id, exit_block, energy_mj, margin_mj FROM exit_energies
    UNION ALL
    SELECT p.run_id, p.cell_id, c.depth - 1, (p.power_w - p.idle_w) * k.exit_ms[1], NULL
    FROM costs k
    JOIN cells c ON c.run_id = k.run_id AND c.cell_id = k.costs_cell_id AND c.kind = 'latency'
    JOIN cell_powers p ON p.run_id = k.run_id AND p.cell_id = k.costs_cell_id
)
SELECT c.run_id, c.cell_id, c.costs_cell_id, c.all_exits,
    list(e.energy_mj ORDER BY e.exit_block) AS exit_mj,
    list(e.margin_mj ORDER BY e.exit_block) AS exit_margin_mj
FROM costs c
JOIN energies e
    ON e.run_id = c.run_id AND e.cell_id = c.costs_cell_id
    AND list_contains(c.all_exits, e.exit_block)
WHERE c.is_valid AND e.energy_mj IS NOT NULL
GROUP BY c.run_id, c.cell_id, c.costs_cell_id, c.all_exits
HAVING count(*) = len(c.all_exits)
