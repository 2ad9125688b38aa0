-- At which thresholds, the same for all gates, the images of a sample are flipped: for each all-exit
-- pass of a run that borrows (borrowed_passes.sql), from +inf down, one row per threshold where a number
-- changes. It holds down to the next row. flipped: images whose answer there is right on one of the two
-- devices only; moved: that exit elsewhere; sample_images: of how many. As in frontier.sql an image is,
-- at t, at the first exit whose score is >= t: of its highs that are >= t, the earliest.
WITH
pairs AS (
    SELECT run_id, cell_id, unnest([cell_id, lender_id]) AS rows_id
    FROM borrowed_passes
    WHERE run_id = run_named(run) AND lender_id IS NOT NULL
),
scores AS (
    SELECT p.run_id, p.cell_id, e.image_id, e.exit_block, p.rows_id <> p.cell_id AS is_lender,
        coalesce(e.gate_score, 'inf'::FLOAT) AS score,
        -- Block and correctness in one number, so that the least has both of the earliest exit.
        4 * e.exit_block + CASE WHEN e.is_correct THEN 1 WHEN NOT e.is_correct THEN 0 ELSE 2 END
            AS state
    FROM scored_exits(rule) e
    JOIN pairs p ON p.run_id = e.run_id AND p.rows_id = e.cell_id
    WHERE e.gate_score IS NULL OR NOT isnan(e.gate_score)
    QUALIFY bool_or(NOT is_lender) OVER (PARTITION BY p.cell_id, e.image_id)
        AND bool_or(is_lender) OVER (PARTITION BY p.cell_id, e.image_id)
),
states AS (
    SELECT cell_id, image_id, score,
        min(state) FILTER (is_lender) OVER falling AS lender_state,
        min(state) FILTER (NOT is_lender) OVER falling AS own_state
    FROM scores
    WINDOW falling AS (PARTITION BY cell_id, image_id ORDER BY score DESC)
    QUALIFY score IS DISTINCT FROM lead(score) OVER falling
),
changes AS (
    SELECT cell_id, image_id, score,
        (lender_state % 4 IS DISTINCT FROM own_state % 4)::INTEGER AS is_flipped,
        (lender_state // 4 IS DISTINCT FROM own_state // 4)::INTEGER AS is_moved,
        is_flipped - coalesce(lag(is_flipped) OVER later, 0) AS flipped_more,
        is_moved - coalesce(lag(is_moved) OVER later, 0) AS moved_more
    FROM states
    WINDOW later AS (PARTITION BY cell_id, image_id ORDER BY score DESC)
),
counted AS (
    SELECT run_id, cell_id, count(DISTINCT image_id) AS sample_images
    FROM scores
    GROUP BY run_id, cell_id
),
steps AS (
    SELECT cell_id, score, sum(flipped_more) AS flipped_more, sum(moved_more) AS moved_more
    FROM changes
    GROUP BY cell_id, score
)
SELECT c.run_id, s.cell_id, s.score AS threshold, c.sample_images,
    sum(s.flipped_more) OVER falling::BIGINT AS flipped,
    sum(s.moved_more) OVER falling::BIGINT AS moved
FROM steps s JOIN counted c USING (cell_id)
WINDOW falling AS (PARTITION BY s.cell_id ORDER BY s.score DESC)
ORDER BY cell_id, threshold DESC
