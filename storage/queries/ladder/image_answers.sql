-- The prediction for each image in the cells of the ladder, and the block it exited after: the rows
-- that acc1 is computed from. They come from the all-exit pass of the cell, at the cell's
-- thresholds, or if that answers a sample only, from the one that it borrows from (answer_sources.sql);
-- without one, from round 0 of the cell's records.
WITH
cells_of_run AS (
    SELECT *, row_number() OVER () AS number  -- to group by: digests would be hashed per row
    FROM answer_sources
    WHERE run_id = run_named(run)
),
answers AS (
    SELECT c.number, e.image_id, any_value(e.label) AS label,
        min(e.exit_block) AS exit_block,
        -- Not arg_min: it would skip a NULL and take the prediction of a later exit.
        arg_min_null(e.prediction, e.exit_block) AS prediction,
        arg_min_null(e.is_correct, e.exit_block) AS is_correct
    FROM exits e
    JOIN cells_of_run c ON c.run_id = e.run_id AND c.source_id = e.cell_id
    WHERE leaves(
        e.gate_score,
        coalesce(c.thresholds[list_position(c.exit_blocks, e.exit_block)], c.threshold)
    )
    GROUP BY c.number, e.image_id
    UNION ALL
    SELECT c.number, r.image_id, r.label, r.exit_block, r.prediction, r.is_correct
    FROM records r
    JOIN cells_of_run c ON c.run_id = r.run_id AND c.cell_id = r.cell_id
    WHERE r.round = 0 AND c.source_id IS NULL AND c.sample_id IS NULL
)
SELECT c.run_id, c.cell_id, c.dataset_sha256, a.* EXCLUDE (number), c.borrowed_from AS accuracy_from
FROM answers a JOIN cells_of_run c USING (number)
