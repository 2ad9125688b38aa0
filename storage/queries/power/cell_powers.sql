-- The mean power of each routed cell on each node while it ran, and before and after, in watts: in the
-- rounds that its energy is of (cell_energies.sql).
SELECT run_id, cell_id, node, power_w, idle_w
FROM cell_energies
WHERE exit_block IS NULL
