-- Scores by a rule (scored_exits.sql) and predictions of one all-exit pass, by exit and then by
-- image_id. The last block's score is NULL, and any score may be NaN.
SELECT gate_score, is_correct
FROM scored_exits($rule)
WHERE run_id = $run_id AND cell_id = $cell_id
ORDER BY exit_block, image_id
