-- Which images does more depth spoil, and which does it rescue? Right at an early exit and wrong
-- at the last block is the destructive overthinking of Kaya, Hong and Dumitras, "Shallow-Deep
-- Networks", ICML 2019 (arXiv:1810.07052). One row per cell and early exit; an image that several
-- early exits have right counts at each. Static models have no early exit, hence no row.
WITH
-- The last block has no gate: gate_score is NULL there, and nowhere else.
counted AS (
    SELECT early.run_id, early.cell_id, early.exit_block,
        count(*) AS images,
        count(*) FILTER (early.is_correct) AS right_here,
        count(*) FILTER (early.is_correct AND NOT late.is_correct) AS right_early_wrong_late,
        count(*) FILTER (NOT early.is_correct AND late.is_correct) AS wrong_early_right_late
    FROM (FROM exits WHERE run_id = run_named(run) AND gate_score IS NOT NULL) early
    JOIN (FROM exits WHERE run_id = run_named(run) AND gate_score IS NULL) late
        USING (run_id, cell_id, image_id)
    GROUP BY early.run_id, early.cell_id, early.exit_block
)
SELECT c.* EXCLUDE (position),
    o.exit_block, o.images,
    o.right_here, 100 * o.right_here / o.images AS right_here_pct,
    o.right_early_wrong_late,
    100 * o.right_early_wrong_late / o.images AS right_early_wrong_late_pct,
    o.wrong_early_right_late,
    100 * o.wrong_early_right_late / o.images AS wrong_early_right_late_pct
FROM exit_cells(run) c JOIN counted o USING (run_id, cell_id)
ORDER BY c.position, c.cell_id, o.exit_block
