-- The composed latency at any thresholds, `[t]` or one per gate, for the models with gates of a
-- run: the times of images forced to each exit (exit_samples.sql), weighted by the share of images
-- that take it. Percentile p is the least time within which p % of the mixture stay.
-- As everywhere it is NULL if there are too few samples (samples_for.sql). is_promised, verdict and
-- error: of the worst routed threshold of the model (trusted_exit_costs.sql).
WITH
points AS (
    SELECT a.*, t.is_promised, t.verdict, t.error_pct, t.error_low_pct, t.error_high_pct, t.note,
        list_transform(list_append(gates(c.exit_blocks, c.depth), c.depth - 1),
            lambda block: a.exit_counts[block + 1] / a.images) AS exit_shares
    FROM at_thresholds(ts) a
    JOIN cells c ON c.run_id = a.run_id AND c.cell_id = a.cell_id
    JOIN trusted_exit_costs(run) t ON t.run_id = a.run_id AND t.cell_id = a.cell_id
    WHERE a.thresholds IS NOT NULL
),
counted AS (
    SELECT *, count(*) OVER (PARTITION BY run_id, cell_id) AS samples
    FROM exit_samples(run)
),
weighed AS (
    SELECT s.run_id, s.cell_id, s.samples, u.exit_ms, u.share / s.samples AS weight
    FROM counted s
    JOIN points p ON p.run_id = s.run_id AND p.cell_id = s.cell_id,
    LATERAL (SELECT unnest(s.exit_ms) AS exit_ms, unnest(p.exit_shares) AS share) u
    WHERE u.share > 0
),
ranked AS (
    SELECT *,
        sum(weight) OVER (
            PARTITION BY run_id, cell_id ORDER BY exit_ms RANGE UNBOUNDED PRECEDING
        ) + 1e-9 AS within  -- sums of shares have rounding errors
    FROM weighed
),
mixed AS (
    SELECT run_id, cell_id, samples,
        sum(weight * exit_ms) AS forward_ms,
        min(exit_ms) FILTER (WHERE within >= 0.5) AS p50_ms,
        min(exit_ms) FILTER (WHERE within >= 0.9) AS p90_ms,
        min(exit_ms) FILTER (WHERE within >= 0.99) AS p99_ms
    FROM ranked
    GROUP BY run_id, cell_id, samples
)
SELECT p.run_id, p.cell_id, p.model, p.dataset, p.device, p.node, p.runtime, p.precision, p.threads,
    p.thresholds, p.exit_shares, m.samples, m.forward_ms,
    CASE WHEN m.samples >= samples_for(50) THEN m.p50_ms END AS p50_ms,
    CASE WHEN m.samples >= samples_for(90) THEN m.p90_ms END AS p90_ms,
    CASE WHEN m.samples >= samples_for(99) THEN m.p99_ms END AS p99_ms,
    p.is_promised, p.verdict, p.error_pct, p.error_low_pct, p.error_high_pct,
    p.note
FROM points p
LEFT JOIN mixed m ON m.run_id = p.run_id AND m.cell_id = p.cell_id
ORDER BY p.run_id, p.cell_id
