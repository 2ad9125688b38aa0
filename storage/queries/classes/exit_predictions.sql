-- The predictions of one all-exit pass, by exit and then by image_id, as exit_answers.sql has their
-- scores.
SELECT image_id, label, prediction
FROM exits
WHERE run_id = $run_id AND cell_id = $cell_id
ORDER BY exit_block, image_id
