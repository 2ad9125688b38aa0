-- How many blocks run in vain at a threshold? The wasteful overthinking of Kaya et al., 2019
-- (arXiv:1810.07052), per image and as a share of all blocks run:
-- * after_right_blocks: run by images that end up right, after the earliest exit that was right;
-- * never_right_blocks: run by images that no exit has right, after the first exit. The oracle of
--   oracle_exits.sql runs these to the last block, which is the convention for its mean_blocks;
--   here they count as waste, because exiting at once would have cost no accuracy.
-- Images that end up wrong although some exit is right are not waste but a loss of accuracy:
-- gate_regret.sql.
WITH
wasted AS (
    SELECT run_id, cell_id, exit_block + 1 AS blocks,
        CASE WHEN is_correct THEN exit_block - first_right_block ELSE 0 END AS after_right,
        CASE WHEN first_right_block IS NULL THEN exit_block - first_block ELSE 0 END AS never_right
    FROM image_routes(run, t)
),
counted AS (
    SELECT run_id, cell_id, count(*) AS images,
        avg(blocks) AS mean_blocks,
        avg(after_right + never_right) AS wasted_blocks,
        100 * sum(after_right + never_right) / sum(blocks) AS wasted_pct,
        avg(after_right) AS after_right_blocks,
        avg(never_right) AS never_right_blocks
    FROM wasted
    GROUP BY run_id, cell_id
)
SELECT c.* EXCLUDE (position), t::FLOAT AS threshold, w.* EXCLUDE (run_id, cell_id)
FROM exit_cells(run) c JOIN counted w USING (run_id, cell_id)
ORDER BY c.position, c.cell_id
