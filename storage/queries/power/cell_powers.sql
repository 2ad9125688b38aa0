-- The mean power of each routed cell on each node, in watts: while it ran, and idle before and
-- after; in the rounds that its energy comes from (cell_energies.sql).
SELECT run_id, cell_id, node, power_w, idle_w
FROM cell_energies
WHERE exit_block IS NULL
