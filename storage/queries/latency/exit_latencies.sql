-- Latency percentiles of the images that take each exit, for one run: of images forced to it (kind
-- `exit_costs`), else of routed images that took it, over all thresholds; of a static model as it
-- is routed. In unthrottled rounds; NULL if there are too few samples (samples_for.sql: p25 to p75
-- as p50, p10 as p90).
WITH
timed AS (
    SELECT run_id, cell_id, round, exit_block, forward_ms FROM exit_costs WHERE run_id = $run_id
    UNION ALL
    SELECT run_id, cell_id, round, exit_block, forward_ms
    FROM records
    WHERE run_id = $run_id AND batch_size = 1
),
kept AS (
    SELECT c.kind, c.model, c.dataset, c.device, c.node, c.runtime, c.precision, c.threads,
        c.position, c.depth, t.exit_block, t.forward_ms
    FROM timed t
    JOIN cells c ON c.run_id = t.run_id AND c.cell_id = t.cell_id
    ANTI JOIN throttled_rounds h
        ON h.run_id = t.run_id AND h.cell_id = t.cell_id AND h.round = t.round
    ANTI JOIN invalid_cells i ON i.run_id = t.run_id AND i.cell_id = t.cell_id
    WHERE t.forward_ms IS NOT NULL
),
measured AS (
    SELECT kind, model, dataset, device, node, runtime, precision, threads, exit_block,
        min(position) AS position,
        any_value(depth) AS depth,
        count(*) AS samples,
        avg(forward_ms) AS forward_ms,
        quantile_cont(forward_ms, [0.1, 0.25, 0.5, 0.75, 0.9]) AS percentiles_ms
    FROM kept
    GROUP BY kind, model, dataset, device, node, runtime, precision, threads, exit_block
)
SELECT kind, model, dataset, device, node, runtime, precision, threads, exit_block, depth, samples,
    forward_ms,
    CASE WHEN samples >= samples_for(90) THEN percentiles_ms[1] END AS p10_ms,
    CASE WHEN samples >= samples_for(50) THEN percentiles_ms[2] END AS p25_ms,
    CASE WHEN samples >= samples_for(50) THEN percentiles_ms[3] END AS p50_ms,
    CASE WHEN samples >= samples_for(50) THEN percentiles_ms[4] END AS p75_ms,
    CASE WHEN samples >= samples_for(90) THEN percentiles_ms[5] END AS p90_ms
FROM measured
QUALIFY kind = 'exit_costs' OR NOT bool_or(kind = 'exit_costs') OVER (
    PARTITION BY model, dataset, device, node, runtime, precision, threads
)
ORDER BY dataset, device, node, runtime, precision, threads, min(position) OVER (
    PARTITION BY model, dataset, device, node, runtime, precision, threads
), exit_block
