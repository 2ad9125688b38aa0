-- The throughput cells of one run (throughputs.sql), in the order of its grid.
SELECT t.*, c.status
FROM throughputs t
JOIN cells c ON c.run_id = t.run_id AND c.cell_id = t.cell_id
WHERE t.run_id = $run_id
ORDER BY c.position, c.cell_id
