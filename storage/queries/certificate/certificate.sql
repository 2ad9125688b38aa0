-- Compares each routed cell with each all-exit pass of the same model, data set, device, node,
-- runtime, precision and threads (compared_routes.sql): does the replay agree with the router? One
-- row per pair; a routed cell without a pass has one row, with exits_cell_id NULL.
-- images, routes (image x round): compared; unmatched: routes of images not in the pass.
-- max_gate_distance: over exit flips, the largest distance of a deciding score from its threshold.
-- max_score_difference: over equal exits, the largest difference between the two scores.
WITH
counted AS (
    SELECT run_id, cell_id, exits_cell_id,
        count(DISTINCT image_id) FILTER (is_matched) AS images,
        count(*) FILTER (is_matched) AS routes,
        count(*) FILTER (is_exit_flip OR is_answer_flip) AS flips,
        count(*) FILTER (is_exit_flip) AS exit_flips,
        count(*) FILTER (is_answer_flip) AS answer_flips,
        max(gate_distance) FILTER (is_exit_flip) AS max_gate_distance,
        max(nullif(abs(routed_score::DOUBLE - deciding_score), 'nan'))
            FILTER (routed_exit_block = replayed_exit_block) AS max_score_difference,
        count(*) FILTER (NOT is_matched) AS unmatched
    FROM compared_routes(run)
    GROUP BY run_id, cell_id, exits_cell_id
)
SELECT l.run_id, l.cell_id, c.exits_cell_id, l.model, l.dataset, l.device, l.node, l.runtime,
    l.precision, l.threads, l.threshold, l.thresholds, l.batch_size,
    p.batch_size AS exits_batch_size,
    c.* EXCLUDE (run_id, cell_id, exits_cell_id)
FROM counted c
JOIN cells l ON l.run_id = c.run_id AND l.cell_id = c.cell_id
LEFT JOIN cells p ON p.run_id = c.run_id AND p.cell_id = c.exits_cell_id
ORDER BY l.run_id, l.position, l.cell_id, p.position, p.cell_id
