-- The exact frontier of each all-exit cell: every operating point that one threshold for all gates
-- can reach, from +inf, where no image exits early, down to the lowest score. at_threshold(t)
-- gives, for any t, the same figures as the point with the lowest threshold >= t here.
--
-- An image exits at the first exit whose score is >= t (leaves.sql), so only the scores that are
-- above all earlier ones matter, its highs. As t falls, the image moves from its last block to its
-- last high, then to the high before it, down to its first. Each high is a move that changes the
-- counts, and sums of the changes by falling score give every point. The last block has no score;
-- as +inf it is the high where an image starts, unless a gate's score is +inf itself. An image
-- without a row there starts at its highest score: only below that can it exit at all.
--
-- A pass with logits that are not finite has no accuracy (unanswered.sql): acc1 is NULL, and none
-- of its points dominates or is dominated.
--
-- Milliseconds that may not be promised (trusted_exit_costs.sql) are shown, and compared with none.
-- Exits were timed under the cell's own exit rule: under another, milliseconds and energy are NULL.
--
-- A pass that answers a sample only has the points of its lender (accuracy_from; borrowed_passes.sql),
-- at its own exit costs. Its own figures can be off by acc1_bound_points, mean_blocks_bound and
-- forward_ms_bound; each holds for all points of the cell at once, in at least 95 % of all samples: the
-- share of flipped images is bounded at each point (frontier_flips.sql, flip_bound.sql), and the 5 % are
-- divided by the number of points (Bonferroni), which the lender alone decides. Counting the images that
-- are flipped at any threshold would not do: the last digits of a score differ between devices, so there
-- nearly all are, between both scores.
--
-- A line with {exit} is repeated for each exit, numbered from 1 (storage/sql/macros.py). Columns
-- that are not selected cost nothing in DuckDB 2, so only exit_shares pays for one sum per exit; a
-- bare count(*) pays for all.
WITH
passes AS (
    SELECT c.* EXCLUDE (exit_rule), t.exit_ms, t.is_promised, t.verdict, t.error_pct, t.error_low_pct, t.error_high_pct,
        j.exit_mj, b.lender_id,
        CASE WHEN c.borrowed_from IS NULL THEN c.cell_id ELSE b.lender_id END AS source_id,
        coalesce(rule, c.exit_rule, 'gate') AS exit_rule,
        u.images IS NULL AND o_u.images IS NULL AS is_answered,
        row_number() OVER (ORDER BY c.position, c.cell_id) AS cell,  -- digests would sort slowly
        -- Rivals are the points of one setting and power mode if they have milliseconds that
        -- may be promised, else of one cell.
        dense_rank() OVER (ORDER BY c.dataset, c.dataset_sha256, c.device, c.node, c.runtime, c.precision,
            c.threads, t.power_mode,
            CASE WHEN t.is_promised IS NOT TRUE THEN c.cell_id END) AS contest,
        gates(c.exit_blocks, c.depth) AS gates,
        list_append(gates, c.depth - 1) AS all_exits
    FROM cells c
    LEFT JOIN trusted_exit_costs(run) t
        ON t.run_id = c.run_id AND t.cell_id = c.cell_id
        AND (rule IS NULL OR rule = coalesce(c.exit_rule, 'gate'))
    LEFT JOIN trusted_exit_energies(run) j
        ON j.run_id = c.run_id AND j.cell_id = c.cell_id
        AND (rule IS NULL OR rule = coalesce(c.exit_rule, 'gate'))
    LEFT JOIN borrowed_passes b ON b.run_id = c.run_id AND b.cell_id = c.cell_id
    LEFT JOIN unanswered u
        ON u.kind = 'exits' AND u.run_id = c.run_id
        AND u.cell_id = CASE WHEN c.borrowed_from IS NULL THEN c.cell_id ELSE b.lender_id END
    LEFT JOIN unanswered o_u
        ON o_u.kind = 'exits' AND o_u.run_id = c.run_id AND o_u.cell_id = c.cell_id
    WHERE c.kind = 'exits' AND c.run_id = run_named(run)
),
scores AS (
    SELECT p.cell, e.image_id, e.exit_block, e.is_correct,
        coalesce(e.gate_score, 'inf'::FLOAT) AS score,
        CASE WHEN e.gate_score IS NULL THEN len(p.all_exits)
            ELSE list_position(p.gates, e.exit_block) END AS exit,
        -- Whole picoseconds and picojoules: equal mixtures then give equal sums, in any order.
        (1e9 * p.exit_ms[exit])::BIGINT AS exit_ps,
        (1e9 * p.exit_mj[exit])::BIGINT AS exit_pj
    FROM scored_exits(rule) e
    JOIN passes p ON p.run_id = e.run_id AND p.source_id = e.cell_id
    WHERE e.gate_score IS NULL OR NOT isnan(e.gate_score)
),
highs AS (
    FROM scores
    QUALIFY (score <= max(score) OVER (
        PARTITION BY cell, image_id ORDER BY exit_block
        ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    )) IS NOT TRUE
),
moves AS (
    SELECT * EXCLUDE (image_id),
        lead(exit) OVER later AS from_exit,
        lead(exit_ps) OVER later AS from_ps,
        lead(exit_pj) OVER later AS from_pj,
        lead(exit_block) OVER later AS from_block,
        lead(is_correct) OVER later AS from_correct
    FROM highs
    WINDOW later AS (PARTITION BY cell, image_id ORDER BY exit_block)
),
-- Equal scores are one point: the sums include all peers, and one of these stays. Sums of 0 and 1,
-- because count(*) FILTER (...) OVER takes quadratic time in DuckDB.
points AS (
    SELECT cell, score,
        sum((from_exit IS NULL)::INTEGER) OVER falling AS images,
        sum((is_correct IS NOT NULL)::INTEGER - (from_correct IS NOT NULL)::INTEGER)
            OVER falling AS answers,
        sum(coalesce(is_correct::INTEGER, 0) - coalesce(from_correct::INTEGER, 0))
            OVER falling AS right_answers,
        sum(exit_block - coalesce(from_block, -1)) OVER falling AS blocks,
        sum(exit_ps - coalesce(from_ps, 0)) OVER falling AS ps,
        sum(exit_pj - coalesce(from_pj, 0)) OVER falling AS pj,
        sum(CASE {exit} WHEN exit THEN 1 WHEN from_exit THEN -1 ELSE 0 END) OVER falling::INTEGER AS images_{exit},
    FROM moves
    WINDOW falling AS (PARTITION BY cell ORDER BY score DESC)
    QUALIFY score IS DISTINCT FROM lead(score) OVER falling
),
steps AS (
    SELECT * FROM frontier_flips(run, rule := rule)
),
figures AS (
    SELECT o.* EXCLUDE (answers, right_answers, blocks, ps, pj),
        CASE WHEN p.is_answered THEN 100 * (o.right_answers / nullif(o.answers, 0)) END AS acc1,
        o.blocks / o.images AS mean_blocks,
        o.ps / o.images / 1e9 AS forward_ms,
        o.pj / o.images / 1e9 AS energy_mj,
        CASE WHEN p.is_promised THEN forward_ms ELSE mean_blocks END AS cost,
        p.contest
    FROM points o JOIN passes p USING (cell)
    -- Without a sample there is no bound, and so nothing to borrow.
    WHERE p.lender_id IS NULL OR p.cell_id IN (SELECT cell_id FROM steps)
),
borrowed AS (
    SELECT p.cell, f.score, s.sample_images, s.flipped, s.moved,
        0.05 / count(*) OVER (PARTITION BY p.cell) AS misses
    FROM figures f
    JOIN passes p ON p.cell = f.cell AND p.lender_id IS NOT NULL
    ASOF JOIN steps s ON s.cell_id = p.cell_id AND f.score <= s.threshold
),
-- By number, of which there are fewer than points.
bounds AS (
    SELECT cell, number, flip_bound(number, sample_images, misses) AS share
    FROM (
        SELECT DISTINCT cell, unnest([flipped, moved]) AS number, sample_images, misses
        FROM borrowed
    )
),

-- A point is beaten by the same accuracy at lower cost, or a better one at the same cost or less.
-- Grouped by accuracy, with at most as many values as images, and not by points.
rivals AS (
    SELECT contest, acc1, cost,
        min(cost) OVER (
            PARTITION BY contest ORDER BY acc1 DESC
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS better_cost
    FROM (
        SELECT contest, acc1, min(cost) AS cost FROM figures
        WHERE acc1 IS NOT NULL GROUP BY contest, acc1
    )
)
SELECT p.run_id, p.cell_id, p.model, p.dataset, p.device, p.node, p.runtime, p.precision,
    p.threads, p.batch_size,
    CASE WHEN len(p.gates) > 0 THEN f.score END AS threshold,
    f.images::BIGINT AS images, f.acc1, f.mean_blocks,
    [
        f.images_{exit} / f.images,
    ][:len(p.all_exits)] AS exit_shares,
    f.forward_ms,
    f.energy_mj,
    coalesce(r.cost < f.cost OR r.better_cost <= f.cost, false) AS is_dominated,
    CASE WHEN f.forward_ms IS NOT NULL THEN p.is_promised END AS is_forward_ms_promised,
    p.verdict AS forward_ms_verdict,
    p.error_pct AS forward_ms_error_pct,
    p.error_low_pct AS forward_ms_error_low_pct,
    p.error_high_pct AS forward_ms_error_high_pct,
    CASE WHEN len(p.gates) > 0 THEN p.exit_rule END AS exit_rule,
    CASE WHEN p.lender_id IS NOT NULL THEN p.borrowed_from END AS accuracy_from,
    CASE WHEN f.acc1 IS NOT NULL THEN 100 * a.share END AS acc1_bound_points,
    m.share * (list_last(p.all_exits) - list_first(p.all_exits)) AS mean_blocks_bound,
    CASE WHEN f.forward_ms IS NOT NULL
        THEN m.share * (list_max(p.exit_ms) - list_min(p.exit_ms)) END AS forward_ms_bound
FROM figures f
JOIN passes p USING (cell)
LEFT JOIN borrowed b ON b.cell = f.cell AND b.score = f.score
LEFT JOIN bounds a ON a.cell = b.cell AND a.number = b.flipped
LEFT JOIN bounds m ON m.cell = b.cell AND m.number = b.moved
LEFT JOIN rivals r ON r.contest = f.contest AND r.acc1 = f.acc1
ORDER BY cell, threshold DESC
