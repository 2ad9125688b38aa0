-- How often is an exit right at a given confidence? Its images in 15 bins of max_prob of equal
-- width, as in Guo et al., ICML 2017 (arXiv:1706.04599): bin b, 1 to 15, holds values above
-- (b - 1) / 15 up to b / 15; an empty bin has no row. Bin NULL holds the images without a
-- confidence (NaN logits). confidence_pct - acc1 above 0 is overconfidence.
WITH
answers AS (
    SELECT run_id, cell_id, exit_block, is_correct,
        -- DOUBLE, because float32 would round the product once more.
        CASE WHEN NOT isnan(max_prob) THEN max_prob::DOUBLE END AS confidence
    FROM exits
    WHERE run_id = run_named(run) AND is_correct IS NOT NULL
),
binned AS (
    SELECT run_id, cell_id, exit_block,
        -- A softmax may round to 1.0000001. CASE, because least and greatest ignore NULL.
        CASE WHEN confidence IS NOT NULL
            THEN greatest(1, least(15, ceil(15 * confidence)))::INTEGER END AS bin,
        count(*) AS images,
        100 * avg(confidence) AS confidence_pct,
        100 * avg(is_correct::INTEGER) AS acc1
    FROM answers
    GROUP BY ALL
)
SELECT c.* EXCLUDE (position), b.* EXCLUDE (run_id, cell_id)
FROM exit_cells(run) c JOIN binned b USING (run_id, cell_id)
ORDER BY c.position, c.cell_id, b.exit_block, b.bin
