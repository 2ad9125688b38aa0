-- Every model's figures over all runs: one row per model, setting, thresholds, and numbers of images
-- timed (images) and answered (accuracy_images), with one list per figure, oldest run first. A run
-- without accuracy is in the series of the run before, or else after it. state: what may explain a change from one run to the next. exit_counts,
-- position: those of the newest run, and its accuracy if that is borrowed (NULL in the list, which has
-- measured ones).
WITH
lines AS (
    SELECT (coalesce(r.submitted_at, '-infinity'::TIMESTAMP), l.run_id, l.cell_id) AS age, l.*,
        CASE WHEN l.acc1 IS NOT NULL THEN list_sum(l.exit_counts)::BIGINT END AS answered, {
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
    JOIN runs r ON r.run_id = l.run_id
    LEFT JOIN nodes n ON n.run_id = l.run_id AND n.node = l.node
    WHERE l.acc1 IS NOT NULL OR l.forward_ms IS NOT NULL
),
told_apart AS (
    SELECT *, coalesce(answered, last_value(answered IGNORE NULLS) OVER until_then,
        first_value(answered IGNORE NULLS) OVER from_then) AS accuracy_images
    FROM lines
    WINDOW until_then AS (
        PARTITION BY dataset, dataset_sha256, images, device, node, runtime, precision, threads,
            batch_size, model, threshold, thresholds
        ORDER BY age
    ),
    from_then AS (
        PARTITION BY dataset, dataset_sha256, images, device, node, runtime, precision, threads,
            batch_size, model, threshold, thresholds
        ORDER BY age ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING
    )
)
SELECT dataset, dataset_sha256, images, accuracy_images, device, node, runtime, precision, threads, batch_size, model,
    threshold, thresholds,
    list(run_id ORDER BY age) AS run_id,
    list(CASE WHEN accuracy_from IS NULL THEN acc1 END ORDER BY age) AS acc1,
    list(forward_ms ORDER BY age) AS forward_ms,
    list(energy_mj ORDER BY age) AS energy_mj,
    list(mean_blocks ORDER BY age) AS mean_blocks,
    list(is_valid IS NOT FALSE ORDER BY age) AS is_valid,
    list(state ORDER BY age) AS state,
    arg_max(exit_counts, age) AS exit_counts,
    arg_max(position, age) AS position,
    arg_max_null(CASE WHEN accuracy_from IS NOT NULL THEN {
        'acc1': acc1, 'accuracy_from': accuracy_from, 'acc1_bound_points': acc1_bound_points
    } END, age) AS borrowed
FROM told_apart
GROUP BY ALL
ORDER BY dataset, dataset_sha256, images, accuracy_images, device, node, runtime, precision, threads, batch_size, position
