-- The ladder, with what must be equal before two of its rows may be compared: the images, how they
-- were timed, and the machine's state in the unthrottled rounds. protocol: the version of the
-- measuring method; files without it were all written by version 1. rounds: those that ran, if they end
-- when figures are known (looked_rounds.sql).
WITH
states AS (
    SELECT run_id, cell_id, node,
        max(clock_mhz) AS max_clock_mhz,
        array_to_string(list_sort(list(DISTINCT governor) FILTER (governor IS NOT NULL)), ' / ')
            AS governor
    FROM rounds
    WHERE is_throttled IS NOT TRUE
    GROUP BY run_id, cell_id, node
)
SELECT l.* EXCLUDE (device_ms, host_share_pct, mean_params, mean_multiply_adds,
        mean_executed_multiply_adds, accuracy_from, acc1_bound_points, mean_blocks_bound),
    c.position, c.kind, c.checkpoint_sha256, c.exit_blocks, c.dataset_sha256, c.images,
    coalesce(k.rounds, c.rounds) AS rounds,
    c.warmup_images, c.status,
    coalesce(c.protocol, 1) AS protocol,
    n.accelerator, n.are_clocks_locked,
    s.max_clock_mhz,
    nullif(s.governor, '') AS governor,
    -- Last, as all columns that were added.
    l.device_ms, l.host_share_pct, l.mean_params, l.mean_multiply_adds,
    l.mean_executed_multiply_adds, l.accuracy_from, l.acc1_bound_points, l.mean_blocks_bound,
    c.until_pct
FROM ladder l
JOIN cells c ON c.run_id = l.run_id AND c.cell_id = l.cell_id
LEFT JOIN looked_rounds k ON k.run_id = l.run_id AND k.cell_id = l.cell_id
LEFT JOIN nodes n ON n.run_id = l.run_id AND n.node = l.node
LEFT JOIN states s
    ON s.run_id = l.run_id AND s.cell_id = l.cell_id AND s.node IS NOT DISTINCT FROM l.node
ORDER BY l.run_id, c.position, l.cell_id, l.node
