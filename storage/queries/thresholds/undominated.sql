-- The points of one run's frontier that no other point beats, in the order of its grid, each cell
-- from its highest threshold down. Faster than curve.sql, which also has dominated ones and notes.
SELECT f.* EXCLUDE (exit_shares)  -- which would cost one sum per exit
FROM frontier($run_id) f
JOIN cells c ON c.run_id = f.run_id AND c.cell_id = f.cell_id
WHERE NOT f.is_dominated
ORDER BY c.position, f.cell_id, f.threshold DESC
