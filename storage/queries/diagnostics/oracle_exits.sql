-- How good could perfect gates be? The oracle takes the earliest exit that is right: no gates over
-- these exits are more accurate. If none is right it runs to the last block, as a gate that waits
-- for a right prediction would; wasted_blocks.sql counts what exiting at once would save for these
-- images. Static models have the last block only: oracle and full depth agree. oracle_acc1 -
-- full_acc1 is the share of images that an early exit had right and the last block has wrong, in
-- points.
WITH
counted AS (
    SELECT run_id, cell_id, count(*) AS images,
        100 * avg((first_right_block IS NOT NULL)::INTEGER) AS oracle_acc1,
        avg(coalesce(first_right_block, last_block) + 1) AS oracle_mean_blocks,
        100 * avg(is_correct::INTEGER) AS full_acc1,
        max(last_block) + 1 AS full_blocks,
        histogram(coalesce(first_right_block, last_block)) AS counts
    FROM image_routes(run, 'inf')
    GROUP BY run_id, cell_id
)
SELECT c.* EXCLUDE (position),
    o.images, o.oracle_acc1, o.oracle_mean_blocks, o.full_acc1, o.full_blocks,
    list_transform(range(o.full_blocks),
        lambda block: coalesce(o.counts[block::INTEGER], 0)::BIGINT) AS exit_counts
FROM exit_cells(run) c JOIN counted o USING (run_id, cell_id)
ORDER BY c.position, c.cell_id
