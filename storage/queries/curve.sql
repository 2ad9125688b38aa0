-- The frontier of one run for drawing: of each cell at most $most operating points, spread evenly
-- over its thresholds, the first and the last included.
WITH
numbered AS (
    SELECT f.*, c.position, t.note AS forward_ms_note,
        row_number() OVER (PARTITION BY f.cell_id ORDER BY f.threshold DESC) - 1 AS number,
        count(*) OVER (PARTITION BY f.cell_id) AS points
    FROM frontier($run_id) f
    JOIN cells c ON c.run_id = f.run_id AND c.cell_id = f.cell_id
    JOIN trusted_exit_costs($run_id) t ON t.run_id = f.run_id AND t.cell_id = f.cell_id
)
SELECT * EXCLUDE (number)
FROM numbered
-- Point 0 starts the first of $most equal stretches, the last point is in none.
WHERE number = points - 1
    OR number * ($most - 1) // points != (number - 1) * ($most - 1) // points
    OR number = 0
ORDER BY dataset, device, node, runtime, precision, threads, position, cell_id, threshold DESC
