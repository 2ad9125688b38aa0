-- The frontier of one run for drawing: for each cell at most $most operating points, spread evenly
-- over its thresholds, and at most $undominated more of those that no other point beats; the first
-- and the last of both are included.
WITH
numbered AS (
    SELECT f.*, c.position, t.note AS forward_ms_note,
        row_number() OVER (PARTITION BY f.cell_id ORDER BY f.threshold DESC) - 1 AS number,
        count(*) OVER (PARTITION BY f.cell_id) AS points,
        row_number() OVER alike - 1 AS number_alike,
        count(*) OVER (PARTITION BY f.cell_id, f.is_dominated) AS points_alike,
        points - if(f.is_dominated, points_alike, points - points_alike) AS undominated_points
    FROM frontier($run_id) f
    JOIN cells c ON c.run_id = f.run_id AND c.cell_id = f.cell_id
    JOIN trusted_exit_costs($run_id) t ON t.run_id = f.run_id AND t.cell_id = f.cell_id
    WINDOW alike AS (PARTITION BY f.cell_id, f.is_dominated ORDER BY f.threshold DESC)
)
SELECT * EXCLUDE (number, number_alike, points_alike)
FROM numbered
-- Point 0 starts the first of $most equal intervals; the last point is in none of them.
WHERE number = points - 1
    OR number * ($most - 1) // points != (number - 1) * ($most - 1) // points
    OR number = 0
    OR (NOT is_dominated AND $undominated > 0 AND (
        number_alike IN (0, points_alike - 1)
        OR number_alike * ($undominated - 1) // points_alike
            != (number_alike - 1) * ($undominated - 1) // points_alike))
ORDER BY dataset, device, node, runtime, precision, threads, position, cell_id, threshold DESC
