-- Compares predictions of the same weights in different settings. Pairs all-exit cells of one run
-- that have the same model, checkpoint, exits and images, but differ in device, node, runtime,
-- precision, number of threads or batch size, and compares them image by image. The first cell's
-- columns come first; `differs` lists what is different in the second.
-- * same_prediction_pct: the last block predicts the same class, right or wrong;
-- * same_exit_pct, same_answer_pct: at one threshold for all gates, images exit after the same
--   block, and with the same class (not necessarily there).
-- Accuracy hides such changes if as many images turn right as turn wrong.
WITH
chosen AS (
    SELECT *, row_number() OVER (ORDER BY position, cell_id) AS place
    FROM cells
    WHERE kind = 'exits' AND run_id = run_named(run)
),
pairs AS (
    SELECT a.run_id, a.cell_id, b.cell_id AS other_cell_id, a.place, b.place AS other_place,
        array_to_string(list_transform(
            list_filter([
                ['device', a.device, b.device],
                ['node', a.node, b.node],
                ['runtime', a.runtime, b.runtime],
                ['precision', a.precision, b.precision],
                ['threads', a.threads::VARCHAR, b.threads::VARCHAR],
                ['batch_size', a.batch_size::VARCHAR, b.batch_size::VARCHAR]
            ], lambda axis: axis[2] IS DISTINCT FROM axis[3]),
            lambda axis: axis[1] || ' ' || coalesce(axis[2], '?') || ' / ' || coalesce(axis[3], '?')
        ), '; ') AS differs
    FROM chosen a
    JOIN chosen b
        ON a.place < b.place
        AND a.model IS NOT DISTINCT FROM b.model
        AND a.checkpoint_sha256 IS NOT DISTINCT FROM b.checkpoint_sha256
        AND a.exit_blocks IS NOT DISTINCT FROM b.exit_blocks
        AND a.dataset IS NOT DISTINCT FROM b.dataset
        AND a.dataset_sha256 IS NOT DISTINCT FROM b.dataset_sha256
),
routes AS MATERIALIZED (FROM image_routes(run, t)),
compared AS (
    SELECT p.place, p.other_place,
        count(*) AS images,
        100 * avg((x.last_prediction = y.last_prediction)::INTEGER) AS same_prediction_pct,
        100 * avg((x.exit_block = y.exit_block)::INTEGER) AS same_exit_pct,
        100 * avg((x.prediction = y.prediction)::INTEGER) AS same_answer_pct
    FROM pairs p
    JOIN routes x ON x.run_id = p.run_id AND x.cell_id = p.cell_id
    JOIN routes y
        ON y.run_id = p.run_id AND y.cell_id = p.other_cell_id AND y.image_id = x.image_id
    WHERE p.differs <> ''
    GROUP BY p.place, p.other_place
)
SELECT c.* EXCLUDE (position), p.other_cell_id, p.differs, t::FLOAT AS threshold,
    a.* EXCLUDE (place, other_place)
FROM exit_cells(run) c
JOIN pairs p USING (run_id, cell_id)
JOIN compared a USING (place, other_place)
ORDER BY p.place, p.other_place
