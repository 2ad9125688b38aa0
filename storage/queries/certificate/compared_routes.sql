-- Compares every routed row with the all-exit pass, for the same image at the same thresholds: one
-- row per routed cell, image, round and pass. A routed cell without a pass has exits_cell_id NULL;
-- columns of an image that the pass has no row for are NULL.
-- The deciding block is the earlier of the two exits: there one let the image exit and the other
-- did not. deciding_score is the pass's score there, gate_distance its distance from the threshold;
-- both are NULL at a last block, and the distance is also NULL for NaN.
WITH
-- Several runs may contain the same cell_id: every join is by run and cell.
pairs AS (
    SELECT l.run_id, l.cell_id, l.threshold, l.thresholds, l.exit_blocks, l.dataset_sha256,
        p.cell_id AS exits_cell_id,
        row_number() OVER () AS pair  -- a number to group by: digests would be hashed per row
    FROM cells l
    LEFT JOIN cells p
        ON p.run_id = l.run_id
        AND p.kind = 'exits'
        AND p.dataset_sha256 IS NOT DISTINCT FROM l.dataset_sha256
        AND same_setting(p, l)
    WHERE l.kind = 'latency' AND l.run_id = run_named(run)
),
replayed AS (
    SELECT p.pair, e.image_id, min(e.exit_block) AS exit_block,
        -- Not arg_min: it would skip a NULL and take the prediction of a later exit.
        arg_min_null(e.prediction, e.exit_block) AS prediction
    FROM exits e
    JOIN pairs p ON p.run_id = e.run_id AND p.exits_cell_id = e.cell_id
    WHERE leaves(
        e.gate_score,
        coalesce(p.thresholds[list_position(p.exit_blocks, e.exit_block)], p.threshold)
    )
    GROUP BY p.pair, e.image_id
),
routes AS (
    SELECT p.*, r.round, r.image_id,
        r.exit_block AS routed_exit_block, y.exit_block AS replayed_exit_block,
        r.prediction AS routed_prediction, y.prediction AS replayed_prediction,
        r.gate_score AS routed_score,
        y.pair IS NOT NULL AS is_matched,
        CASE WHEN is_matched THEN least(r.exit_block, y.exit_block) END AS deciding_block
    FROM records r
    JOIN pairs p ON p.run_id = r.run_id AND p.cell_id = r.cell_id
    LEFT JOIN replayed y ON y.pair = p.pair AND y.image_id = r.image_id
)
SELECT r.run_id, r.cell_id, r.exits_cell_id, r.round, r.image_id, r.is_matched,
    r.routed_exit_block, r.replayed_exit_block, r.routed_prediction, r.replayed_prediction,
    r.routed_score, r.deciding_block,
    CASE WHEN d.gate_score IS NOT NULL
        THEN coalesce(r.thresholds[list_position(r.exit_blocks, r.deciding_block)], r.threshold)
    END AS deciding_threshold,
    d.gate_score AS deciding_score,
    -- In DuckDB NaN = NaN, and NaN is the greatest of all numbers.
    nullif(abs(deciding_score::DOUBLE - deciding_threshold), 'nan') AS gate_distance,
    r.is_matched AND r.routed_exit_block IS DISTINCT FROM r.replayed_exit_block AS is_exit_flip,
    r.is_matched AND r.routed_prediction IS DISTINCT FROM r.replayed_prediction AS is_answer_flip,
    r.dataset_sha256
FROM routes r
LEFT JOIN exits d
    ON d.run_id = r.run_id AND d.cell_id = r.exits_cell_id AND d.image_id = r.image_id
    AND d.exit_block = r.deciding_block
