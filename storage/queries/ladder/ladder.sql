-- The ladder: one row per latency cell and node, and one per all-exit cell in a setting that its
-- run did not time.
--
-- is_valid is the cell's, decided when it ended (at least two unthrottled rounds, or one if only
-- one was requested). It is also false if no sample is left, or if the power mode changed among the
-- cell's rounds (conditions.sql). The figures of such a row are kept for inspection; savings are
-- not computed against a baseline that is not valid, nor across power modes.
--
-- Accuracy comes from the run's all-exit pass, replayed at the routed thresholds: each image exits
-- at the first exit that lets it (leaves.sql). Without such a pass it comes from round 0 of the
-- records (answer_sources.sql). If the logits of any image are not finite there is no accuracy
-- (unanswered.sql): acc1, acc5 and loss are NULL. With five classes or fewer is_top5 is NULL, and so
-- is acc5.
--
-- A pass that answers a sample only borrows its predictions from another device (accuracy_from). Of the
-- sample's images, those whose correctness differs there at the same thresholds are flips, and so for
-- the exit. Their share bounds how far the figures can be from those of this device on the same images
-- (flip_bound.sql): acc1_bound_points and mean_blocks_bound, each exceeded by at most 5 % of all
-- samples. A difference of accuracy is at most the share of such images, one of the mean blocks at most
-- this share times the greatest difference of two exits. acc5 and loss are not borrowed, as they have
-- no bound.
--
-- device_ms: mean of the rows that have it, by the device's own clock. host_share_pct: the part of
-- their forward_ms, in percent, that is not in their device_ms: before the device takes up the pass
-- and after its last result. Both are NULL on a CPU, which has no other clock than the host. While
-- the device waits for its next kernel, device_ms goes on: a pass may be bound by launching kernels
-- and have a small host_share_pct, but not the reverse.
--
-- Energy: from the rounds in which power was read (cell_energies.sql).
WITH
-- Several runs may contain the same cell_id: every join is by run and cell.
exit_rows AS (
    SELECT run_id, cell_id, min(node) AS node
    FROM exits GROUP BY run_id, cell_id
),
targets AS (
    -- A number to group by: digests would be hashed per row.
    SELECT *, row_number() OVER () AS target
    FROM answer_sources
),

-- Accuracy ------------------------------------------------------------------------------------
replayed AS (
    SELECT t.target, e.image_id, min(e.exit_block) AS exit_block,
        -- Not arg_min: it would skip a NULL and take the prediction of a later exit.
        arg_min_null(e.is_correct, e.exit_block) AS is_correct,
        arg_min_null(e.is_top5, e.exit_block) AS is_top5,
        arg_min_null(e.loss, e.exit_block) AS loss
    FROM exits e
    JOIN targets t ON t.run_id = e.run_id AND t.source_id = e.cell_id
    WHERE leaves(
        e.gate_score,
        coalesce(t.thresholds[list_position(t.exit_blocks, e.exit_block)], t.threshold)
    )
    GROUP BY t.target, e.image_id
),
routed AS (
    SELECT t.target, r.image_id, r.exit_block, r.is_correct, r.is_top5, r.loss
    FROM records r
    JOIN targets t ON t.run_id = r.run_id AND t.cell_id = r.cell_id
    WHERE r.round = 0 AND t.source_id IS NULL AND t.sample_id IS NULL
),
sampled AS (
    SELECT t.target, e.image_id, min(e.exit_block) AS exit_block,
        arg_min_null(e.is_correct, e.exit_block) AS is_correct
    FROM exits e
    JOIN targets t ON t.run_id = e.run_id AND t.sample_id = e.cell_id
    WHERE leaves(
        e.gate_score,
        coalesce(t.thresholds[list_position(t.exit_blocks, e.exit_block)], t.threshold)
    )
    GROUP BY t.target, e.image_id
),
differing AS (
    SELECT target, count(*) AS sample_images,
        count(*) FILTER (s.is_correct IS DISTINCT FROM r.is_correct) AS flipped,
        count(*) FILTER (s.exit_block <> r.exit_block) AS moved
    FROM sampled s JOIN replayed r USING (target, image_id)
    GROUP BY target
),
accuracy AS (
    SELECT target,
        100 * avg(is_correct::INTEGER) AS acc1,
        100 * avg(is_top5::INTEGER) AS acc5,
        avg(loss) AS loss,
        avg(exit_block + 1) AS mean_blocks,
        histogram(exit_block) AS counts,
        max(exit_block) + 1 AS blocks_seen
    FROM (FROM replayed UNION ALL FROM routed)
    GROUP BY target
),

-- Latency -------------------------------------------------------------------------------------
timings AS (
    SELECT run_id, cell_id, node,
        count(forward_ms) AS timed_rows,
        count(forward_ms) FILTER (WHERE is_kept) AS samples,
        avg(forward_ms) FILTER (WHERE is_kept) AS forward_ms,
        avg(elapsed_ms) FILTER (WHERE is_kept) AS elapsed_ms,
        avg(device_ms) FILTER (WHERE is_kept) AS device_ms,
        100 * (1 - sum(device_ms) FILTER (WHERE is_kept)
            / nullif(sum(forward_ms) FILTER (WHERE is_kept AND device_ms IS NOT NULL), 0)
        ) AS host_share_pct,
        quantile_cont(forward_ms, [0.5, 0.9, 0.99]) FILTER (WHERE is_kept) AS percentiles_ms
    FROM (
        SELECT r.run_id, r.cell_id, r.node, r.forward_ms, r.elapsed_ms, r.device_ms,
            t.round IS NULL AS is_kept
        FROM records r
        LEFT JOIN throttled_rounds t
            ON t.run_id = r.run_id AND t.cell_id = r.cell_id AND t.round = r.round
    )
    GROUP BY run_id, cell_id, node
),

-- Together ------------------------------------------------------------------------------------
lines AS (
    SELECT t.* EXCLUDE (node, is_valid), coalesce(m.node, t.node, x.node) AS node,
        CASE WHEN NOT o.is_steady THEN false
            WHEN t.kind = 'latency' AND t.status = 'done' AND coalesce(m.samples, 0) = 0 THEN false
            ELSE t.is_valid END AS is_valid,
        -- Without images of the sample there is no bound, and so nothing to borrow.
        t.sample_id IS NOT NULL AND f.target IS NULL AS is_unbounded,
        CASE WHEN NOT is_unbounded THEN a.mean_blocks END AS mean_blocks,
        CASE WHEN NOT is_unbounded THEN a.counts END AS counts,
        a.blocks_seen,
        coalesce(u.images, o_u.images) AS unanswered_images,
        CASE WHEN unanswered_images IS NULL AND NOT is_unbounded THEN a.acc1 END AS acc1,
        CASE WHEN unanswered_images IS NULL AND t.sample_id IS NULL THEN a.acc5 END AS acc5,
        CASE WHEN unanswered_images IS NULL AND t.sample_id IS NULL THEN a.loss END AS loss,
        f.sample_images, f.flipped, f.moved,
        CASE WHEN acc1 IS NOT NULL THEN 100 * flip_bound(f.flipped, f.sample_images, 0.05) END
            AS acc1_bound_points,
        CASE WHEN mean_blocks IS NOT NULL THEN flip_bound(f.moved, f.sample_images, 0.05)
            * (t.depth - 1 - coalesce(gates(t.exit_blocks, t.depth)[1], t.depth - 1)) END
            AS mean_blocks_bound,
        coalesce(m.timed_rows, 0) AS timed_rows,
        coalesce(m.samples, 0) AS samples,
        m.forward_ms, m.elapsed_ms, m.device_ms, m.host_share_pct, m.percentiles_ms,
        o.power_mode, o.note AS conditions_note
    FROM targets t
    LEFT JOIN accuracy a USING (target)
    LEFT JOIN differing f USING (target)
    LEFT JOIN unanswered u ON u.run_id = t.run_id AND u.cell_id = coalesce(t.source_id, t.cell_id)
    LEFT JOIN unanswered o_u ON o_u.run_id = t.run_id AND o_u.cell_id = t.sample_id
    LEFT JOIN timings m
        ON m.run_id = t.run_id AND m.cell_id = t.cell_id AND t.kind = 'latency'
    LEFT JOIN exit_rows x
        ON x.run_id = t.run_id AND x.cell_id = t.cell_id AND t.kind = 'exits'
    LEFT JOIN conditions o
        ON o.run_id = t.run_id AND o.cell_id = t.cell_id
        AND o.node IS NOT DISTINCT FROM coalesce(m.node, t.node)
),
given AS (
    -- What the rounds of a node have from an imported log.
    SELECT run_id, node, string_agg(DISTINCT name, ', ' ORDER BY name) AS columns
    FROM (
        SELECT run_id, node, unnest(string_split(from_log, ', ')) AS name
        FROM rounds
        WHERE from_log IS NOT NULL
    )
    GROUP BY run_id, node
),
energies AS MATERIALIZED (
    SELECT l.* EXCLUDE (power_mode), p.power_w, p.idle_w,
        p.energy_mj, p.energy_elapsed_mj, p.energy_gross_mj, p.reason AS energy_reason,
        CASE WHEN p.power_w IS NOT NULL THEN s.energy_source END AS energy_source,
        CASE WHEN l.samples > 0 THEN coalesce(p.note, CASE WHEN p.cell_id IS NULL
            THEN 'energy: no power samples' END) END AS energy_note,
        coalesce(l.power_mode, n.power_mode) AS power_mode,
        CASE WHEN g.columns IS NULL THEN n.note
            ELSE replace(n.note, 'not readable here: ', format(
                'a log gave its rounds {}; not readable on the node itself: ', g.columns))
        END AS node_note
    FROM lines l
    LEFT JOIN cell_energies p
        ON p.run_id = l.run_id AND p.cell_id = l.cell_id AND p.node IS NOT DISTINCT FROM l.node
        AND p.exit_block IS NULL
    LEFT JOIN energy_sources s ON s.run_id = l.run_id AND s.node = l.node
    LEFT JOIN nodes n ON n.run_id = l.run_id AND n.node = l.node
    LEFT JOIN given g ON g.run_id = l.run_id AND g.node = l.node
),
first_static AS (
    SELECT run_id, arg_min(model, (coalesce(position, 2147483647), cell_id)) AS model
    FROM cells
    WHERE len(gates(exit_blocks, depth)) = 0
    GROUP BY run_id
),
baselines AS (
    SELECT r.run_id, coalesce(r.baseline, s.model) AS model
    FROM runs r LEFT JOIN first_static s USING (run_id)
),
compared AS (
    SELECT e.*, b.model AS baseline_model, o.power_mode AS baseline_mode,
        o.cell_id IS NOT NULL AS has_baseline,
        e.power_mode IS NOT DISTINCT FROM o.power_mode AS is_comparable,
        CASE WHEN is_comparable THEN o.energy_mj END AS baseline_mj,
        o.energy_reason AS baseline_reason
    FROM energies e
    LEFT JOIN baselines b ON b.run_id = e.run_id
    LEFT JOIN energies o
        ON o.run_id = e.run_id
        AND o.model = b.model
        AND (o.energy_mj IS NOT NULL OR o.energy_gross_mj IS NOT NULL)
        AND o.is_valid IS NOT FALSE
        AND o.dataset IS NOT DISTINCT FROM e.dataset
        AND o.device IS NOT DISTINCT FROM e.device
        AND o.node IS NOT DISTINCT FROM e.node
        AND o.runtime IS NOT DISTINCT FROM e.runtime
        AND o.precision IS NOT DISTINCT FROM e.precision
    -- If the baseline was measured in several settings, take the one most like this row.
    QUALIFY row_number() OVER (
        PARTITION BY e.target, e.node
        ORDER BY is_comparable DESC, (o.threads IS NOT DISTINCT FROM e.threads) DESC,
            (o.batch_size IS NOT DISTINCT FROM e.batch_size) DESC,
            (o.dataset_sha256 IS NOT DISTINCT FROM e.dataset_sha256) DESC,
            (o.cell_id = e.cell_id) DESC, o.position, o.cell_id
    ) = 1
)
SELECT
    run_id, cell_id, dataset, device, node, runtime, precision, threads, batch_size, model,
    threshold, thresholds, params,
    acc1, acc5, loss,
    CASE WHEN counts IS NOT NULL THEN
        list_transform(range(coalesce(depth, blocks_seen)),
            lambda block: coalesce(counts[block::INTEGER], 0)::BIGINT)
    END AS exit_counts,
    mean_blocks,
    samples,
    forward_ms,
    CASE WHEN samples >= samples_for(50) THEN percentiles_ms[1] END AS p50_ms,
    CASE WHEN samples >= samples_for(90) THEN percentiles_ms[2] END AS p90_ms,
    CASE WHEN samples >= samples_for(99) THEN percentiles_ms[3] END AS p99_ms,
    elapsed_ms,
    1000 / nullif(elapsed_ms, 0) AS fps,
    power_w, idle_w, energy_mj, energy_elapsed_mj, energy_gross_mj,
    100 * (1 - energy_mj / baseline_mj) AS energy_saving_pct,
    energy_source, energy_note,
    power_mode, is_valid,
    nullif(concat_ws('; ',
        note,
        -- The last line of a traceback, as one reason.
        replace(regexp_extract(trim(error, e' \n'), '[^\n]*$'), '; ', ', '),
        CASE
            WHEN unanswered_images > 0 THEN format(
                'accuracy: images with logits that are not finite: {}', unanswered_images)
            WHEN accuracy_reason IS NOT NULL
                THEN format('accuracy: not borrowed: {}', accuracy_reason)
            WHEN is_unbounded THEN format('accuracy: not borrowed: no image of the sample is answered')
            WHEN borrowed_from IS NOT NULL THEN format('accuracy: borrowed from {}, within {} points '
                || '(95 %: {} of {} images differ)', borrowed_from, format('{:.2g}', acc1_bound_points),
                flipped, sample_images)
            WHEN acc1 IS NULL
                THEN format('accuracy: no answers (cell is {})', coalesce(status, 'unknown'))
            WHEN acc5 IS NULL THEN 'acc@5: with five classes or fewer, every class is in the top 5'
        END,
        CASE WHEN mean_blocks_bound > 0 THEN format('blocks: borrowed from {}, within {} '
            || '(95 %: {} of {} images exit elsewhere)', borrowed_from,
            format('{:.2g}', mean_blocks_bound), moved, sample_images) END,
        CASE
            WHEN kind = 'exits' THEN 'latency and energy: not timed in this run'
            WHEN timed_rows = 0
                THEN format('latency: no timed rows (cell is {})', coalesce(status, 'unknown'))
            WHEN samples = 0 THEN 'latency: every round was throttled'
        END,
        conditions_note,
        CASE WHEN samples BETWEEN 1 AND samples_for(50) - 1
            THEN format('p50 needs {} samples, has {}', samples_for(50), samples) END,
        CASE WHEN samples BETWEEN 1 AND samples_for(90) - 1
            THEN format('p90 needs {} samples, has {}', samples_for(90), samples) END,
        CASE WHEN samples BETWEEN 1 AND samples_for(99) - 1
            THEN format('p99 needs {} samples, has {}', samples_for(99), samples) END,
        energy_note,
        energy_source,
        CASE WHEN samples > 0 AND (power_w IS NULL OR idle_w IS NULL) THEN node_note END,
        CASE
            WHEN energy_mj IS NULL OR baseline_mj IS NOT NULL THEN NULL
            WHEN baseline_model IS NULL THEN 'saving: the run has no baseline'
            WHEN is_comparable AND baseline_reason IS NOT NULL
                THEN format('saving: the energy of the baseline {} is not known: {}',
                    baseline_model, baseline_reason)
            WHEN has_baseline
                THEN format('saving: power mode {} here, {} in the rounds of the baseline {}',
                    coalesce(power_mode, 'unknown'), coalesce(baseline_mode, 'unknown'),
                    baseline_model)
            ELSE format('saving: no valid energy of the baseline {} on the same data set, device, '
                || 'node, runtime and precision', baseline_model)
        END
    ), '') AS note,
    device_ms, host_share_pct,
    mean_over_exits(counts, exit_params, exit_blocks, depth) AS mean_params,
    mean_over_exits(counts, exit_multiply_adds, exit_blocks, depth) AS mean_multiply_adds,
    mean_over_exits(counts, exit_executed_multiply_adds, exit_blocks, depth)
        AS mean_executed_multiply_adds,
    CASE WHEN counts IS NOT NULL THEN borrowed_from END AS accuracy_from,
    acc1_bound_points, mean_blocks_bound
FROM compared
ORDER BY run_id, position, cell_id, node
