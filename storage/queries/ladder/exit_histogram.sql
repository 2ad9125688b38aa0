-- At which exits the images of one run exit: one row per ladder row and exit. The counts are the
-- ladder's; the median is over unthrottled rounds, of a valid cell with enough samples.
WITH
medians AS (
    SELECT cell_id, node, exit_block,
        CASE WHEN count(forward_ms) >= samples_for(50) THEN median(forward_ms) END AS median_forward_ms
    FROM records
    ANTI JOIN throttled_rounds USING (run_id, cell_id, round)
    WHERE run_id = $run_id
    GROUP BY cell_id, node, exit_block
),
counted AS (
    SELECT l.*, c.position, c.exit_blocks, c.depth,
        unnest(l.exit_counts) AS images,
        (generate_subscripts(l.exit_counts, 1) - 1)::INTEGER AS exit_block,
        list_sum(l.exit_counts) AS all_images
    FROM ladder l JOIN cells c USING (run_id, cell_id)
    WHERE l.run_id = $run_id
)
SELECT h.cell_id, h.model, h.threshold, h.thresholds, h.dataset, h.device, h.node, h.runtime,
    h.precision, h.threads, h.batch_size, h.exit_block, h.depth, h.images,
    100 * h.images / h.all_images AS share_pct,
    CASE WHEN h.is_valid IS NOT FALSE THEN m.median_forward_ms END AS median_forward_ms,
    h.accuracy_from
FROM counted h
LEFT JOIN medians m
    ON m.cell_id = h.cell_id AND m.exit_block = h.exit_block AND m.node IS NOT DISTINCT FROM h.node
-- An exit that no image takes has a row, and so has the last block, where the others end up; a block
-- without an exit has none.
WHERE h.images > 0 OR list_contains(h.exit_blocks, h.exit_block) OR h.exit_block = h.depth - 1
ORDER BY h.position, h.cell_id, h.node, h.exit_block
