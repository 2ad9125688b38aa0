-- Does the latency composed from exit costs agree with the measured one? For each routed cell of a
-- model with gates, image by image (batch 1): the mean latency as routed, and the one composed from
-- the cost of each exit and the share of images that take it; in unthrottled rounds of valid cells.
-- Beyond the tolerance, composed latencies are not used (trusted_exit_costs.sql).
WITH
routed AS (
    SELECT l.run_id, l.cell_id, p.cell_id AS exits_cell_id, r.exit_block,
        count(r.forward_ms) AS routes,
        sum(r.forward_ms) AS total_ms,
        routes * any_value(c.exit_ms[list_position(c.all_exits, r.exit_block)]) AS composed_total_ms
    FROM cells l
    JOIN cells p
        ON p.run_id = l.run_id AND p.kind = 'exits'
        AND p.dataset IS NOT DISTINCT FROM l.dataset
        AND p.dataset_sha256 IS NOT DISTINCT FROM l.dataset_sha256
        AND same_setting(p, l)
    JOIN measured_exit_costs(run) c ON c.run_id = p.run_id AND c.cell_id = p.cell_id
        AND c.is_valid
    ANTI JOIN invalid_cells i ON i.run_id = l.run_id AND i.cell_id = l.cell_id
    JOIN records r ON r.run_id = l.run_id AND r.cell_id = l.cell_id
    ANTI JOIN throttled_rounds t
        ON t.run_id = r.run_id AND t.cell_id = r.cell_id AND t.round = r.round
    WHERE l.kind = 'latency' AND l.batch_size = 1 AND len(c.all_exits) > 1
        AND l.run_id = run_named(run)
    GROUP BY l.run_id, l.cell_id, p.cell_id, r.exit_block
),
means AS (
    SELECT run_id, cell_id, exits_cell_id,
        sum(routes)::BIGINT AS routes,
        sum(total_ms) / sum(routes) AS forward_ms,
        sum(composed_total_ms) / sum(routes) AS composed_ms
    FROM routed
    GROUP BY run_id, cell_id, exits_cell_id
)
SELECT m.run_id, m.cell_id, m.exits_cell_id, l.model, l.dataset, l.device, l.node, l.runtime,
    l.precision, l.threads, l.threshold, l.thresholds, m.routes, m.forward_ms, m.composed_ms,
    100 * (m.composed_ms / m.forward_ms - 1) AS error_pct,
    2.0::DOUBLE AS tolerance_pct,
    abs(error_pct) <= tolerance_pct AS is_within
FROM means m
JOIN cells l ON l.run_id = m.run_id AND l.cell_id = m.cell_id
ORDER BY l.run_id, l.position, l.cell_id
