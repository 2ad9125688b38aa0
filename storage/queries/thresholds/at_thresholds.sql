-- The figures of each all-exit cell at any thresholds: `[t]`, one for all gates, or one per gate in
-- the order of exit_blocks, for the cells with that number of gates. At +inf no image exits there,
-- at -inf every image does. Static models have no gates and give the same figures at any
-- thresholds. A list that fits none of the models with gates is an error. A cell with logits that
-- are not finite has no accuracy (unanswered.sql). rule: what is compared (scored_exits.sql).
WITH
gated AS (
    SELECT *, gates(exit_blocks, depth) AS gates,
        list(len(gates)) FILTER (len(gates) > 0) OVER () AS all_gates
    FROM cells
    WHERE kind = 'exits'
),
answered AS (
    SELECT * EXCLUDE (all_gates) REPLACE (ts::FLOAT[] AS thresholds)
    FROM gated
    WHERE CASE
        WHEN len(gates) = 0 OR len(ts) IN (1, len(gates)) THEN true
        WHEN list_contains(all_gates, len(ts)) THEN false
        ELSE error(format('{} thresholds were given, and the models here have {} gates: give one '
            || 'threshold for all gates, or one a gate', len(ts),
            array_to_string(list_sort(list_distinct(all_gates)), ' or ')))
    END
),
left_at AS (
    SELECT e.run_id, e.cell_id, e.image_id, min(e.exit_block) AS exit_block,
        -- Not arg_min: it would skip a NULL and take the prediction of a later exit.
        arg_min_null(e.is_correct, e.exit_block) AS is_correct,
        arg_min_null(e.is_top5, e.exit_block) AS is_top5,
        arg_min_null(e.loss, e.exit_block) AS loss
    FROM scored_exits(rule) e JOIN answered c USING (run_id, cell_id)
    WHERE leaves(e.gate_score,
        c.thresholds[CASE WHEN len(ts) = 1 THEN 1 ELSE list_position(c.gates, e.exit_block) END])
    GROUP BY e.run_id, e.cell_id, e.image_id
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
    CASE WHEN u.images IS NULL THEN a.acc1 END AS acc1,
    CASE WHEN u.images IS NULL THEN a.acc5 END AS acc5,
    CASE WHEN u.images IS NULL THEN a.loss END AS loss,
    list_transform(range(coalesce(c.depth, a.blocks_seen)),
        lambda block: coalesce(a.counts[block::INTEGER], 0)::BIGINT) AS exit_counts,
    a.mean_blocks,
    CASE WHEN len(c.gates) > 0 THEN coalesce(rule, c.exit_rule, 'gate') END AS exit_rule
FROM answered c JOIN counted a USING (run_id, cell_id)
LEFT JOIN (FROM unanswered WHERE kind = 'exits') u USING (run_id, cell_id)
ORDER BY c.run_id, c.position, c.cell_id
