-- The serving cells of one run (served.sql), in the order of its grid.
SELECT s.*, c.batch_size, c.status
FROM served s
JOIN cells c ON c.run_id = s.run_id AND c.cell_id = s.cell_id
WHERE s.run_id = $run_id
ORDER BY c.position, c.cell_id
