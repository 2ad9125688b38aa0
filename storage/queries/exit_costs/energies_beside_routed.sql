-- The thresholds of one run that were actually routed, with the composed energy of each; also
-- passes whose energy by exit is not known although power was read, with the reason (note; no
-- composed_mj).
SELECT e.*, s.energy_source
FROM energy_composition($run_id) e
LEFT JOIN energy_sources s ON s.run_id = e.run_id AND s.node = e.node
UNION ALL BY NAME
SELECT e.run_id, c.model, c.dataset, c.device, c.node, c.runtime, c.precision, c.threads,
    e.note, s.energy_source
FROM measured_exit_energies($run_id) e
JOIN cells c ON c.run_id = e.run_id AND c.cell_id = e.cell_id
LEFT JOIN energy_sources s ON s.run_id = c.run_id AND s.node = c.node
WHERE e.exit_mj IS NULL
