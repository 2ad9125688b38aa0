-- The classes of one run as `gfjobs summary --classes` lists them: those of the lowest accuracy
-- first, cell by cell of the ladder.
SELECT k.*
FROM class_accuracy($run_id) k JOIN cells c USING (run_id, cell_id)
ORDER BY c.position, k.cell_id, k.acc1, k.label
