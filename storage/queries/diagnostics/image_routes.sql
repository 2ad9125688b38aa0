-- After which block each image of each all-exit cell exits at one threshold for all gates, its
-- prediction there, and what would have been possible: one row per cell and image. At +inf no image
-- exits early: exit_block, is_correct and prediction are then the last block's.
-- first_right_block, last_right_block: NULL if no exit is right.
SELECT run_id, cell_id, image_id,
    min(exit_block) FILTER (leaves(gate_score, t)) AS exit_block,
    -- Not arg_min: it would skip a NULL and take the prediction of a later exit.
    arg_min_null(is_correct, exit_block) FILTER (leaves(gate_score, t)) AS is_correct,
    arg_min_null(prediction, exit_block) FILTER (leaves(gate_score, t)) AS prediction,
    arg_max_null(prediction, exit_block) AS last_prediction,
    min(exit_block) AS first_block,
    max(exit_block) AS last_block,
    min(exit_block) FILTER (is_correct) AS first_right_block,
    max(exit_block) FILTER (is_correct) AS last_right_block,
    any_value(dataset_sha256) AS dataset_sha256
FROM exits
WHERE run_id = run_named(run)
GROUP BY run_id, cell_id, image_id
