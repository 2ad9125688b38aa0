-- The energy of each exit (cell_energies.sql): one row per cell, node and exit that images were
-- forced to while power was read.
SELECT run_id, cell_id, node, exit_block, windows, power_w, idle_w, forward_ms, energy_mj, margin_mj,
    energy_gross_mj, note
FROM cell_energies
WHERE exit_block IS NOT NULL
