-- Expected calibration error (ECE) of each exit over the bins of calibration_bins.sql, in points:
-- the mean of |confidence - accuracy|, weighted by images. Images without a confidence (bin NULL)
-- count in images and acc1 only.
-- ECE alone misleads: an exit that is equally confident about every image may have none, and cannot
-- tell which images to let exit; miscalibrated networks can be the better ones (Kubaty et al.,
-- 2025, arXiv:2508.21495). Read it with gate_auroc.sql.
WITH
errors AS (
    SELECT run_id, cell_id, exit_block,
        sum(images)::BIGINT AS images,
        sum(images * abs(confidence_pct - acc1)) / sum(images) FILTER (bin IS NOT NULL)
            AS ece_points,
        sum(images * confidence_pct) / sum(images) FILTER (bin IS NOT NULL) AS confidence_pct,
        sum(images * acc1) / sum(images) AS acc1
    FROM calibration_bins(run)
    GROUP BY run_id, cell_id, exit_block
)
SELECT c.* EXCLUDE (position), e.* EXCLUDE (run_id, cell_id)
FROM exit_cells(run) c JOIN errors e USING (run_id, cell_id)
ORDER BY c.position, c.cell_id, e.exit_block
