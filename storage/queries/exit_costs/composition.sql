-- Does the latency composed from exit costs agree with the measured one? For each routed cell of a
-- model with gates, image by image (batch 1): the mean latency as routed, and the one composed from
-- the cost of each exit and the share of images that take it; in unthrottled rounds of valid cells.
--
-- The 95 % interval of the error is by Student's t over the rounds in which both were measured: of
-- each, the logarithm of its composed mean over its routed one. In a round all cells take turns, so
-- what slows the whole round divides out; if rounds ended because figures were known, it is wider by
-- what was spent on looks (looked_margin.sql). rounds: how many there are; is_within: the error alone;
-- verdict: by the interval (composed_verdict.sql).
WITH
pairs AS (
    SELECT l.run_id, l.cell_id, p.cell_id AS exits_cell_id, c.costs_cell_id, c.all_exits, c.exit_ms
    FROM cells l
    JOIN cells p
        ON p.run_id = l.run_id AND p.kind = 'exits'
        AND p.dataset IS NOT DISTINCT FROM l.dataset
        AND p.dataset_sha256 IS NOT DISTINCT FROM l.dataset_sha256
        AND same_setting(p, l)
    JOIN measured_exit_costs(run) c ON c.run_id = p.run_id AND c.cell_id = p.cell_id
        AND c.is_valid
    ANTI JOIN invalid_cells i ON i.run_id = l.run_id AND i.cell_id = l.cell_id
    WHERE l.kind = 'latency' AND l.batch_size = 1 AND len(c.all_exits) > 1
        AND l.run_id = run_named(run)
),
routed AS (
    SELECT k.run_id, k.cell_id, k.exits_cell_id, k.costs_cell_id, r.round, r.exit_block,
        count(r.forward_ms) AS routes,
        sum(r.forward_ms) AS total_ms,
        routes * any_value(k.exit_ms[list_position(k.all_exits, r.exit_block)]) AS composed_total_ms
    FROM pairs k
    JOIN records r ON r.run_id = k.run_id AND r.cell_id = k.cell_id
    ANTI JOIN throttled_rounds t
        ON t.run_id = r.run_id AND t.cell_id = r.cell_id AND t.round = r.round
    GROUP BY k.run_id, k.cell_id, k.exits_cell_id, k.costs_cell_id, r.round, r.exit_block
),
forced AS (
    SELECT e.run_id, e.cell_id, e.round, e.exit_block, avg(e.forward_ms) AS forward_ms
    FROM exit_costs e
    ANTI JOIN throttled_rounds t
        ON t.run_id = e.run_id AND t.cell_id = e.cell_id AND t.round = e.round
    WHERE e.run_id = run_named(run)
    GROUP BY e.run_id, e.cell_id, e.round, e.exit_block
),
by_round AS (
    SELECT r.run_id, r.cell_id, r.exits_cell_id,
        sum(r.routes) AS routes,
        sum(r.total_ms) AS total_ms,
        sum(r.composed_total_ms) AS composed_total_ms,
        -- NULL if an exit that images took was not forced in this round.
        CASE WHEN count(f.forward_ms) = count(*)
            THEN ln(sum(r.routes * f.forward_ms) / sum(r.total_ms)) END AS log_error
    FROM routed r
    LEFT JOIN forced f
        ON f.run_id = r.run_id AND f.cell_id = r.costs_cell_id AND f.round = r.round
        AND f.exit_block = r.exit_block
    WHERE r.routes > 0
    GROUP BY r.run_id, r.cell_id, r.exits_cell_id, r.round
),
means AS (
    SELECT b.run_id, b.cell_id, b.exits_cell_id,
        sum(routes)::BIGINT AS routes,
        sum(total_ms) / sum(routes) AS forward_ms,
        sum(composed_total_ms) / sum(routes) AS composed_ms,
        count(log_error) AS rounds,
        ratio_margin(list(log_error) FILTER (log_error IS NOT NULL))
            * looked_margin(any_value(k.rounds), count(log_error), bool_or(k.cell_id IS NOT NULL)) AS log_margin
    FROM by_round b
    LEFT JOIN looked_rounds k ON k.run_id = b.run_id AND k.cell_id = b.cell_id
    GROUP BY b.run_id, b.cell_id, b.exits_cell_id
)
SELECT m.run_id, m.cell_id, m.exits_cell_id, l.model, l.dataset, l.device, l.node, l.runtime,
    l.precision, l.threads, l.threshold, l.thresholds, m.routes, m.forward_ms, m.composed_ms,
    100 * (m.composed_ms / m.forward_ms - 1) AS error_pct,
    100 * (m.composed_ms / m.forward_ms * exp(-m.log_margin) - 1) AS error_low_pct,
    100 * (m.composed_ms / m.forward_ms * exp(m.log_margin) - 1) AS error_high_pct,
    m.rounds,
    2.0::DOUBLE AS tolerance_pct,
    abs(error_pct) <= tolerance_pct AS is_within,
    composed_verdict(error_pct, error_low_pct, error_high_pct, tolerance_pct) AS verdict
FROM means m
JOIN cells l ON l.run_id = m.run_id AND l.cell_id = m.cell_id
ORDER BY l.run_id, l.position, l.cell_id
