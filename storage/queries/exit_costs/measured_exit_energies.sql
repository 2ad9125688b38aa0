-- The energy of each exit, for each all-exit pass in whose setting the exit costs were timed
-- (measured_exit_costs.sql): exit_mj has the mJ of every exit, the last block's last,
-- exit_margin_mj half their 95 % intervals. For models with gates from forced exits, for a static
-- model as it is routed (cell_energies.sql). If the measurements give no energy for an exit,
-- exit_mj is NULL and the note says why; if an exit was not measured at all there is no row.
WITH
costs AS MATERIALIZED (FROM measured_exit_costs(run)),
energies AS (
    SELECT e.* REPLACE (coalesce(e.exit_block, c.depth - 1) AS exit_block)
    FROM cells c
    JOIN cell_energies e
        ON e.run_id = c.run_id AND e.cell_id = c.cell_id
        AND (e.exit_block IS NULL) = (c.kind = 'latency')
)
SELECT c.run_id, c.cell_id, c.costs_cell_id, c.all_exits,
    count(e.energy_mj) = len(c.all_exits) AND count(*) = len(c.all_exits)
        AND min(e.node) IS NOT DISTINCT FROM max(e.node) AS is_of_one_node,
    CASE WHEN is_of_one_node THEN list(e.energy_mj ORDER BY e.exit_block) END AS exit_mj,
    CASE WHEN is_of_one_node THEN list(e.margin_mj ORDER BY e.exit_block) END AS exit_margin_mj,
    nullif(concat_ws('; ',
        string_agg('exit after block ' || e.exit_block || ': ' || e.reason, '; '
            ORDER BY e.exit_block),
        some_rounds(min(e.rounds), max(e.timed_rounds))
    ), '') AS note
FROM costs c
JOIN energies e
    ON e.run_id = c.run_id AND e.cell_id = c.costs_cell_id
    AND list_contains(c.all_exits, e.exit_block)
WHERE c.is_valid
GROUP BY c.run_id, c.cell_id, c.costs_cell_id, c.all_exits
HAVING count(e.energy_mj) = len(c.all_exits) OR count(e.reason) > 0
