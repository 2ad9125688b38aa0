-- Every model's figures over all runs: one row per model, setting, images and thresholds, with one list
-- per figure, oldest run first. night: the run's place among all runs, from 0. state: what may explain a
-- change from one run to the next. exit_counts, position: those of the newest run.
WITH
nights AS (
    SELECT run_id, gfjobs_version,
        row_number() OVER (ORDER BY submitted_at NULLS FIRST, run_id) - 1 AS night
    FROM runs
),
lines AS (
    SELECT r.night, l.*, {
        'checkpoint': l.checkpoint_sha256,
        'exits': l.exit_blocks,
        'gfjobs': r.gfjobs_version,
        'torch': n.torch,
        'accelerator': l.accelerator,
        'power mode': l.power_mode,
        'highest clock, MHz': l.max_clock_mhz,
        'governor': l.governor,
        'protocol': l.protocol
    } AS state
    FROM measured l
    JOIN nights r ON r.run_id = l.run_id
    LEFT JOIN nodes n ON n.run_id = l.run_id AND n.node = l.node
    WHERE l.acc1 IS NOT NULL OR l.forward_ms IS NOT NULL
)
SELECT dataset, dataset_sha256, device, node, runtime, precision, threads, batch_size, model,
    threshold, thresholds,
    list(night ORDER BY night, cell_id) AS night,
    list(acc1 ORDER BY night, cell_id) AS acc1,
    list(forward_ms ORDER BY night, cell_id) AS forward_ms,
    list(energy_mj ORDER BY night, cell_id) AS energy_mj,
    list(mean_blocks ORDER BY night, cell_id) AS mean_blocks,
    list(is_valid IS NOT FALSE ORDER BY night, cell_id) AS is_valid,
    list(state ORDER BY night, cell_id) AS state,
    arg_max(exit_counts, (night, cell_id)) AS exit_counts,
    arg_max(position, (night, cell_id)) AS position
FROM lines
GROUP BY ALL
ORDER BY dataset, dataset_sha256, device, node, runtime, precision, threads, batch_size, position
