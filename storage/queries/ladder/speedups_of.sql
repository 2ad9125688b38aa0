-- The ladders of several runs, with how many times as fast each row is as eager torch in float32:
-- speedup is the mean latency of that row over its own, with its 95 % interval. The other row is the
-- same model at the same thresholds, on the same images, device and node, with the same threads and
-- batch; a bundle never has one. speedup_note: why it is NULL; eager float32 itself is 1, without an
-- interval.
--
-- The interval is by Student's t over the rounds in which both were measured: of each, the logarithm
-- of one mean over the other. In a round all cells take turns, so what slows the whole round
-- divides out. If the rounds ended because figures were known, it is wider by what was spent on looks.
WITH
lines AS (
    FROM measured WHERE list_contains(run_ids, run_id)
),
rounds_of AS (
    SELECT r.run_id, r.cell_id, r.node, r.round, ln(avg(r.forward_ms)) AS log_ms
    FROM records r
    ANTI JOIN throttled_rounds t
        ON t.run_id = r.run_id AND t.cell_id = r.cell_id AND t.round = r.round
    WHERE list_contains(run_ids, r.run_id) AND r.forward_ms IS NOT NULL
    GROUP BY r.run_id, r.cell_id, r.node, r.round
),
pairs AS (
    SELECT l.run_id, l.cell_id, l.node, l.position,
        l.runtime = 'torch' AND l.precision = 'float32' AS is_eager,
        e.cell_id AS eager_id,
        l.power_mode, e.power_mode AS eager_mode,
        l.forward_ms, e.forward_ms AS eager_ms,
        l.rounds AS looked_rounds, l.until_pct IS NOT NULL AS is_looked_at,
        l.is_valid IS NOT FALSE AS is_valid, e.is_valid IS NOT FALSE AS is_eager_valid
    FROM lines l
    LEFT JOIN lines e
        ON e.run_id = l.run_id
        AND e.runtime = 'torch' AND e.precision = 'float32' AND e.kind = 'latency'
        AND e.model IS NOT DISTINCT FROM l.model
        AND e.checkpoint_sha256 IS NOT DISTINCT FROM l.checkpoint_sha256
        AND e.exit_blocks IS NOT DISTINCT FROM l.exit_blocks
        AND e.threshold IS NOT DISTINCT FROM l.threshold
        AND e.thresholds IS NOT DISTINCT FROM l.thresholds
        AND e.dataset IS NOT DISTINCT FROM l.dataset
        AND e.dataset_sha256 IS NOT DISTINCT FROM l.dataset_sha256
        AND e.device IS NOT DISTINCT FROM l.device
        AND e.node IS NOT DISTINCT FROM l.node
        AND e.threads IS NOT DISTINCT FROM l.threads
        AND e.batch_size IS NOT DISTINCT FROM l.batch_size
    QUALIFY row_number() OVER (
        PARTITION BY l.run_id, l.cell_id, l.node ORDER BY e.cell_id = l.cell_id DESC NULLS LAST, e.cell_id
    ) = 1
),
ratios AS (
    SELECT p.run_id, p.cell_id, p.node,
        ratio_margin(list(b.log_ms - a.log_ms))
            * looked_margin(any_value(p.looked_rounds), count(*), any_value(p.is_looked_at))
            AS log_margin
    FROM pairs p
    JOIN rounds_of a
        ON a.run_id = p.run_id AND a.cell_id = p.cell_id AND a.node IS NOT DISTINCT FROM p.node
    JOIN rounds_of b
        ON b.run_id = p.run_id AND b.cell_id = p.eager_id AND b.node IS NOT DISTINCT FROM p.node
        AND b.round = a.round
    GROUP BY p.run_id, p.cell_id, p.node
),
told AS (
    SELECT p.*, r.log_margin,
        CASE
            WHEN p.forward_ms IS NULL THEN 'it was not timed'
            WHEN NOT p.is_valid THEN 'its times are not valid'
            WHEN p.is_eager THEN NULL
            WHEN p.eager_id IS NULL THEN 'no torch float32 with the same model, thresholds, threads '
                || 'and batch in this run (torch runs no bundle)'
            WHEN p.eager_ms IS NULL THEN 'torch float32 was not timed'
            WHEN NOT p.is_eager_valid THEN 'the times of torch float32 are not valid'
            WHEN p.power_mode IS DISTINCT FROM p.eager_mode
                THEN format('power mode {} here, {} for torch float32',
                    coalesce(p.power_mode, 'unknown'), coalesce(p.eager_mode, 'unknown'))
        END AS reason
    FROM pairs p
    LEFT JOIN ratios r
        ON r.run_id = p.run_id AND r.cell_id = p.cell_id AND r.node IS NOT DISTINCT FROM p.node
)
SELECT l.*,
    CASE WHEN t.reason IS NULL THEN t.eager_ms / t.forward_ms END AS speedup,
    speedup * exp(-t.log_margin) AS speedup_low,
    speedup * exp(t.log_margin) AS speedup_high,
    'speed-up: ' || t.reason AS speedup_note
FROM ladder l
JOIN told t
    ON t.run_id = l.run_id AND t.cell_id = l.cell_id AND t.node IS NOT DISTINCT FROM l.node
WHERE list_contains(run_ids, l.run_id)
ORDER BY l.run_id, t.position, l.cell_id, l.node
