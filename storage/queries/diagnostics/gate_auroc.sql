-- Does a gate know when its exit is right? The area under the ROC of its score as a predictor of
-- is_correct, per cell and early exit: the share of (right, wrong) pairs of images that the score
-- orders correctly, ties counting half. 1 is perfect, 0.5 is chance; NULL if all images are right
-- or all are wrong. For comparison, the same for scores that need no gate: max_prob, -entropy and
-- margin. Kubaty et al., 2025 (arXiv:2508.21495) argue that this ranking, failure prediction,
-- describes an early-exit network better than its calibration does.
WITH
early AS (
    -- The last block has no gate (NULL), so it decides nothing.
    SELECT run_id, cell_id, exit_block, is_correct,
        gate_score, max_prob, -entropy AS entropy, margin
    FROM exits
    WHERE run_id = run_named(run) AND gate_score IS NOT NULL AND is_correct IS NOT NULL
),
scored AS (
    -- A NaN never exits, so it ranks lowest; DuckDB would sort it highest.
    SELECT run_id, cell_id, exit_block, predictor, is_correct,
        CASE WHEN isnan(score) THEN '-inf'::FLOAT ELSE score END AS score
    FROM early UNPIVOT (score FOR predictor IN (gate_score, max_prob, entropy, margin))
),
tied AS (
    SELECT run_id, cell_id, exit_block, predictor, score,
        count(*) FILTER (is_correct) AS n_right,
        count(*) FILTER (NOT is_correct) AS n_wrong
    FROM scored
    GROUP BY run_id, cell_id, exit_block, predictor, score
),
-- The Mann-Whitney statistic, from the mid-ranks of the right images.
ranked AS (
    SELECT *, sum(n_wrong) OVER lower_scores - n_wrong / 2 AS outranked
    FROM tied
    WINDOW lower_scores AS (
        PARTITION BY run_id, cell_id, exit_block, predictor
        ORDER BY score ROWS UNBOUNDED PRECEDING
    )
),
areas AS (
    SELECT run_id, cell_id, exit_block, predictor,
        sum(n_right + n_wrong)::BIGINT AS images,
        sum(n_right)::BIGINT AS right_here,
        sum(n_right * outranked) / nullif(sum(n_right) * sum(n_wrong), 0) AS auroc
    FROM ranked
    GROUP BY run_id, cell_id, exit_block, predictor
),
beside AS (
    SELECT run_id, cell_id, exit_block, max(images) AS images, max(right_here) AS right_here,
        any_value(auroc) FILTER (predictor = 'gate_score') AS gate_auroc,
        any_value(auroc) FILTER (predictor = 'max_prob') AS max_prob_auroc,
        any_value(auroc) FILTER (predictor = 'entropy') AS entropy_auroc,
        any_value(auroc) FILTER (predictor = 'margin') AS margin_auroc
    FROM areas
    GROUP BY run_id, cell_id, exit_block
)
SELECT c.* EXCLUDE (position), b.* EXCLUDE (run_id, cell_id)
FROM exit_cells(run) c JOIN beside b USING (run_id, cell_id)
ORDER BY c.position, c.cell_id, b.exit_block
