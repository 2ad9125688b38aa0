-- What do the gates lose compared with the oracle of oracle_exits.sql, and at which exit? One row
-- per cell and exit, the last block included:
-- * reached: images that ran this far; left_here: images that exit here;
-- * left_wrong_later_right: exit here wrongly though a later exit is right (too early);
-- * left_wrong_earlier_right: exit here wrongly, and only earlier exits are right (too late);
-- * stayed_right: right here, but did not exit; stayed_right_blocks: the blocks that these images
--   ran from here until they exited. An image that was right at several exits counts at each, so
--   these two do not add up over exits; the other counts do;
-- * regret_points: both kinds of wrong exits, in points of the cell's accuracy. They add up to
--   oracle_acc1 minus the accuracy at this threshold.
WITH
routes AS (
    SELECT e.run_id, e.cell_id, e.exit_block, e.is_correct,
        r.exit_block - e.exit_block AS blocks_until_left,
        coalesce(r.first_right_block < e.exit_block, false) AS earlier_is_right,
        coalesce(r.last_right_block > e.exit_block, false) AS later_is_right
    FROM (FROM exits WHERE run_id = run_named(run)) e
    JOIN image_routes(run, t) r USING (run_id, cell_id, image_id)
),
counted AS (
    SELECT run_id, cell_id, exit_block,
        count(*) AS images,
        count(*) FILTER (blocks_until_left >= 0) AS reached,
        count(*) FILTER (blocks_until_left = 0) AS left_here,
        count(*) FILTER (blocks_until_left = 0 AND NOT is_correct AND later_is_right)
            AS left_wrong_later_right,
        count(*) FILTER (blocks_until_left = 0 AND NOT is_correct AND earlier_is_right
            AND NOT later_is_right) AS left_wrong_earlier_right,
        count(*) FILTER (blocks_until_left > 0 AND is_correct) AS stayed_right,
        coalesce(sum(blocks_until_left) FILTER (blocks_until_left > 0 AND is_correct), 0)::BIGINT
            AS stayed_right_blocks
    FROM routes
    -- An exit that no image reaches has a row too, so nothing is filtered out earlier.
    GROUP BY run_id, cell_id, exit_block
)
SELECT c.* EXCLUDE (position), t::FLOAT AS threshold, g.* EXCLUDE (run_id, cell_id),
    100 * (g.left_wrong_later_right + g.left_wrong_earlier_right) / g.images AS regret_points
FROM exit_cells(run) c JOIN counted g USING (run_id, cell_id)
ORDER BY c.position, c.cell_id, g.exit_block
