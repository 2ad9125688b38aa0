-- The images of one all-exit pass, in the order of exit_answers.sql.
SELECT DISTINCT image_id FROM exits WHERE run_id = $run_id AND cell_id = $cell_id ORDER BY image_id
