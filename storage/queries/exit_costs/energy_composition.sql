-- Does the energy composed from exit energies agree with the measured one? For each routed cell of
-- a model with gates, image by image (batch 1): the mean energy as routed, and the one composed
-- from the energy of each exit and the share of images that take it; in unthrottled rounds of valid
-- cells. Beyond the tolerance, composed energies are not used (trusted_exit_energies.sql). note:
-- why the routed energy is not known.
WITH
routed AS (
    SELECT l.run_id, l.cell_id, l.node, e.cell_id AS exits_cell_id,
        count(*) AS routes,
        avg(e.exit_mj[list_position(e.all_exits, r.exit_block)]) AS composed_mj
    FROM measured_exit_energies(run) e
    JOIN cells p ON p.run_id = e.run_id AND p.cell_id = e.cell_id
    JOIN cells l
        ON l.run_id = p.run_id AND l.kind = 'latency' AND l.batch_size = 1
        AND l.dataset IS NOT DISTINCT FROM p.dataset
        AND l.dataset_sha256 IS NOT DISTINCT FROM p.dataset_sha256
        AND same_setting(p, l)
    ANTI JOIN invalid_cells i ON i.run_id = l.run_id AND i.cell_id = l.cell_id
    JOIN records r ON r.run_id = l.run_id AND r.cell_id = l.cell_id AND r.forward_ms IS NOT NULL
    ANTI JOIN throttled_rounds t
        ON t.run_id = r.run_id AND t.cell_id = r.cell_id AND t.round = r.round
    WHERE len(e.all_exits) > 1 AND e.exit_mj IS NOT NULL
    GROUP BY l.run_id, l.cell_id, l.node, e.cell_id
)
SELECT r.run_id, r.cell_id, r.exits_cell_id, l.model, l.dataset, l.device, l.node, l.runtime,
    l.precision, l.threads, l.threshold, l.thresholds, r.routes,
    p.energy_mj,
    r.composed_mj,
    100 * (r.composed_mj / p.energy_mj - 1) AS error_pct,
    2.0::DOUBLE AS tolerance_pct,
    abs(error_pct) <= tolerance_pct AS is_within,
    p.note
FROM routed r
JOIN cells l ON l.run_id = r.run_id AND l.cell_id = r.cell_id
JOIN cell_energies p
    ON p.run_id = r.run_id AND p.cell_id = r.cell_id AND p.node IS NOT DISTINCT FROM r.node
    AND p.exit_block IS NULL
ORDER BY l.run_id, l.position, l.cell_id
