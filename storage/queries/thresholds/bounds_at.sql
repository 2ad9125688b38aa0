-- How far accuracy and mean blocks of a pass that borrows them can be from its lender's at some
-- thresholds, one per gate.
SELECT acc1, accuracy_from, acc1_bound_points, mean_blocks, mean_blocks_bound
FROM at_thresholds($thresholds::FLOAT[])
WHERE run_id = $run_id AND cell_id = $cell_id
