-- How often is an exit right when it is this confident? Its images in 15 bins of max_prob of equal
-- width, as Guo et al., ICML 2017 (arXiv:1706.04599): bin b of 1 to 15 holds ((b - 1) / 15, b / 15],
-- empty bins have no row. Bin NULL holds the images without a confidence (NaN logits).
-- confidence_pct - acc1 above 0 is overconfidence.
WITH
binned AS (
    -- In DOUBLE: float32 rounds once more. 15 also for the 1.0000001 that a softmax may sum up to.
    SELECT run_id, cell_id, exit_block, is_correct,
        CASE WHEN NOT isnan(max_prob) THEN max_prob::DOUBLE END AS confidence,
        greatest(1, least(15, ceil(15 * confidence)))::INTEGER AS bin
    FROM exits
    WHERE run_id = run_named(run) AND is_correct IS NOT NULL
),
counted AS (
    SELECT run_id, cell_id, exit_block, CASE WHEN confidence IS NOT NULL THEN bin END AS bin,
        count(*) AS images,
        100 * avg(confidence) AS confidence_pct,
        100 * avg(is_correct::INTEGER) AS acc1
    FROM binned
    GROUP BY ALL
)
SELECT c.* EXCLUDE (position), b.* EXCLUDE (run_id, cell_id)
FROM exit_cells(run) c JOIN counted b USING (run_id, cell_id)
ORDER BY c.position, c.cell_id, b.exit_block, b.bin
