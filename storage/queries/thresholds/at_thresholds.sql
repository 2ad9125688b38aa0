-- The figures of each all-exit cell at any thresholds: `[t]`, one for all gates, or one per gate in
-- the order of exit_blocks, for the cells with that number of gates. At +inf no image exits there,
-- at -inf every image does. Static models have no gates and give the same figures at any
-- thresholds. A list that fits none of the models with gates is an error. A cell with logits that
-- are not finite has no accuracy (unanswered.sql). rule: what is compared (scored_exits.sql).
--
-- A pass that answers a sample only has the figures of its lender (accuracy_from; borrowed_passes.sql),
-- with the bounds of ladder.sql: for these thresholds alone, where frontier.sql has them for all points
-- at once.
WITH
gated AS (
    SELECT c.*, gates(c.exit_blocks, c.depth) AS gates,
        list(len(gates)) FILTER (len(gates) > 0) OVER () AS all_gates,
        CASE WHEN c.borrowed_from IS NULL THEN c.cell_id ELSE b.lender_id END AS source_id,
        CASE WHEN b.lender_id IS NOT NULL THEN c.cell_id END AS sample_id
    FROM cells c
    LEFT JOIN borrowed_passes b ON b.run_id = c.run_id AND b.cell_id = c.cell_id
    WHERE c.kind = 'exits'
),
answered AS (
    SELECT * EXCLUDE (all_gates) REPLACE (ts::FLOAT[] AS thresholds)
    FROM gated
    WHERE CASE
        WHEN len(gates) = 0 OR len(ts) IN (1, len(gates)) THEN true
        WHEN list_contains(all_gates, len(ts)) THEN false
        ELSE error(format('{} thresholds were given, and the models here have {} gates: give one '
            || 'threshold for all gates, or one per gate', len(ts),
            array_to_string(list_sort(list_distinct(all_gates)), ' or ')))
    END
),
left_at AS (
    SELECT c.run_id, c.cell_id, e.image_id, min(e.exit_block) AS exit_block,
        -- Not arg_min: it would skip a NULL and take the prediction of a later exit.
        arg_min_null(e.is_correct, e.exit_block) AS is_correct,
        arg_min_null(e.is_top5, e.exit_block) AS is_top5,
        arg_min_null(e.loss, e.exit_block) AS loss
    FROM scored_exits(rule) e
    JOIN answered c ON c.run_id = e.run_id AND c.source_id = e.cell_id
    WHERE leaves(e.gate_score,
        c.thresholds[CASE WHEN len(ts) = 1 THEN 1 ELSE list_position(c.gates, e.exit_block) END])
    GROUP BY c.run_id, c.cell_id, e.image_id
),
sampled AS (
    SELECT c.run_id, c.cell_id, e.image_id, min(e.exit_block) AS exit_block,
        arg_min_null(e.is_correct, e.exit_block) AS is_correct
    FROM scored_exits(rule) e
    JOIN answered c ON c.run_id = e.run_id AND c.sample_id = e.cell_id
    WHERE leaves(e.gate_score,
        c.thresholds[CASE WHEN len(ts) = 1 THEN 1 ELSE list_position(c.gates, e.exit_block) END])
    GROUP BY c.run_id, c.cell_id, e.image_id
),
differing AS (
    SELECT run_id, cell_id, count(*) AS sample_images,
        count(*) FILTER (s.is_correct IS DISTINCT FROM l.is_correct) AS flipped,
        count(*) FILTER (s.exit_block <> l.exit_block) AS moved
    FROM sampled s JOIN left_at l USING (run_id, cell_id, image_id)
    GROUP BY run_id, cell_id
),
counted AS (
    SELECT run_id, cell_id, count(*) AS images,
        100 * avg(is_correct::INTEGER) AS acc1,
        100 * avg(is_top5::INTEGER) AS acc5,
        avg(loss) AS loss,
        histogram(exit_block) AS counts,
        max(exit_block) + 1 AS blocks_seen,
        avg(exit_block + 1) AS mean_blocks
    FROM left_at
    GROUP BY run_id, cell_id
)
SELECT c.run_id, c.cell_id, c.model, c.dataset, c.device, c.node, c.runtime, c.precision,
    c.threads, c.batch_size,
    CASE WHEN len(c.gates) > 0 THEN c.thresholds END AS thresholds,
    a.images,
    CASE WHEN u.images IS NULL AND o_u.images IS NULL THEN a.acc1 END AS acc1,
    CASE WHEN u.images IS NULL AND c.sample_id IS NULL THEN a.acc5 END AS acc5,
    CASE WHEN u.images IS NULL AND c.sample_id IS NULL THEN a.loss END AS loss,
    list_transform(range(coalesce(c.depth, a.blocks_seen)),
        lambda block: coalesce(a.counts[block::INTEGER], 0)::BIGINT) AS exit_counts,
    a.mean_blocks,
    CASE WHEN len(c.gates) > 0 THEN coalesce(rule, c.exit_rule, 'gate') END AS exit_rule,
    CASE WHEN c.sample_id IS NOT NULL THEN c.borrowed_from END AS accuracy_from,
    CASE WHEN acc1 IS NOT NULL THEN 100 * flip_bound(d.flipped, d.sample_images, 0.05) END
        AS acc1_bound_points,
    flip_bound(d.moved, d.sample_images, 0.05)
        * (c.depth - 1 - coalesce(list_first(c.gates), c.depth - 1)) AS mean_blocks_bound
FROM answered c JOIN counted a USING (run_id, cell_id)
LEFT JOIN differing d USING (run_id, cell_id)
LEFT JOIN (FROM unanswered WHERE kind = 'exits') u
    ON u.run_id = c.run_id AND u.cell_id = c.source_id
LEFT JOIN (FROM unanswered WHERE kind = 'exits') o_u
    ON o_u.run_id = c.run_id AND o_u.cell_id = c.cell_id
WHERE c.sample_id IS NULL OR d.cell_id IS NOT NULL  -- without a sample there is nothing to borrow
ORDER BY c.run_id, c.position, c.cell_id
