-- The history of a model: its ladder rows of all runs, grouped by setting and threshold, oldest
-- first, with the change since the previous run in the same setting on the same images: of the same data
-- set, and as many of them. Times are of `images`, accuracies of `accuracy_images`: those that the
-- run's all-exit pass answered, or its routed cell if it has none. A row that is not valid is shown, but
-- not compared with any other; nor is an accuracy that is borrowed (accuracy_from).
WITH
lines AS (
    SELECT r.submitted_at, r.name AS run_name, c.dataset_sha256, c.images, l.*,
        CASE WHEN acc1 IS NOT NULL THEN list_sum(exit_counts)::BIGINT END AS accuracy_images
    FROM ladder l
    JOIN runs r ON r.run_id = l.run_id
    JOIN cells c ON c.run_id = l.run_id AND c.cell_id = l.cell_id
    WHERE l.model = model_named(model_name)
),
compared AS (
    SELECT *,
        CASE WHEN is_valid IS NOT FALSE AND accuracy_from IS NULL THEN
            last_value(CASE WHEN is_valid IS NOT FALSE AND accuracy_from IS NULL THEN acc1 END
                IGNORE NULLS) OVER answered_before
        END AS acc1_before,
        CASE WHEN is_valid IS NOT FALSE THEN
            last_value(CASE WHEN is_valid IS NOT FALSE THEN forward_ms END IGNORE NULLS) OVER timed_before
        END AS forward_ms_before,
        CASE WHEN is_valid IS NOT FALSE THEN
            last_value(CASE WHEN is_valid IS NOT FALSE THEN energy_mj END IGNORE NULLS) OVER timed_before
        END AS energy_mj_before
    FROM lines
    WINDOW timed_before AS (
        PARTITION BY dataset, dataset_sha256, images, device, node, runtime, precision, threads,
            batch_size, threshold, thresholds
        ORDER BY submitted_at, run_id, cell_id
        ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    ),
    answered_before AS (
        PARTITION BY dataset, dataset_sha256, accuracy_images, device, node, runtime, precision, threads,
            batch_size, threshold, thresholds
        ORDER BY submitted_at, run_id, cell_id
        ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    )
)
SELECT run_id, submitted_at, run_name, dataset, device, node, runtime, precision, threads,
    batch_size, model, threshold, thresholds, acc1, mean_blocks, forward_ms, p50_ms, p90_ms, p99_ms,
    energy_mj, energy_saving_pct,
    acc1 - acc1_before AS acc1_change,
    100 * (forward_ms / nullif(forward_ms_before, 0) - 1) AS forward_change_pct,
    100 * (energy_mj / nullif(energy_mj_before, 0) - 1) AS energy_change_pct,
    is_valid, note, dataset_sha256, energy_source,
    accuracy_from, acc1_bound_points, images, accuracy_images
FROM compared
ORDER BY dataset, dataset_sha256, images, device, node, runtime, precision, threads, batch_size,
    threshold, thresholds, submitted_at, run_id, cell_id
