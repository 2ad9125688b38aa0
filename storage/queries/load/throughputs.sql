-- The images per second of each throughput cell, over its unthrottled rounds: all images over the
-- sum of their batches' times. images_per_s has decoding, transforms and the copy to the device in
-- it, forward_images_per_s has not. is_best: no other valid batch size of the same model, threshold
-- and setting has more images_per_s; NULL if the cell is not valid.
WITH
timed AS (
    SELECT b.run_id, b.cell_id,
        count(DISTINCT b.round) AS rounds,
        count(*) AS batches,
        sum(b.images)::BIGINT AS images,
        1000 * sum(b.images) / nullif(sum(b.elapsed_ms), 0) AS images_per_s,
        1000 * sum(b.images) / nullif(sum(b.forward_ms), 0) AS forward_images_per_s
    FROM throughput b
    ANTI JOIN throttled_rounds t
        ON t.run_id = b.run_id AND t.cell_id = b.cell_id AND t.round = b.round
    GROUP BY b.run_id, b.cell_id
),
rated AS (
    SELECT c.*, t.* EXCLUDE (run_id, cell_id, rounds, images),
        t.rounds AS kept_rounds, t.images AS kept_images,
        CASE WHEN i.cell_id IS NOT NULL THEN false ELSE c.is_valid END AS is_kept,
        i.note AS invalid_note
    FROM cells c
    LEFT JOIN timed t ON t.run_id = c.run_id AND t.cell_id = c.cell_id
    LEFT JOIN invalid_cells i ON i.run_id = c.run_id AND i.cell_id = c.cell_id
    WHERE c.kind = 'throughput'
)
SELECT run_id, cell_id, model, dataset, device, node, runtime, precision, threads, batch_size,
    threshold, thresholds,
    coalesce(kept_rounds, 0) AS rounds, coalesce(batches, 0) AS batches,
    coalesce(kept_images, 0) AS images,
    images_per_s, forward_images_per_s,
    CASE WHEN is_kept IS NOT FALSE AND images_per_s IS NOT NULL THEN
        images_per_s = max(images_per_s) FILTER (is_kept IS NOT FALSE) OVER (
            PARTITION BY run_id, model, checkpoint_sha256, exit_blocks, dataset, dataset_sha256,
                device, node, runtime, precision, threads, threshold, thresholds
        )
    END AS is_best,
    is_kept AS is_valid,
    nullif(concat_ws('; ',
        coalesce(invalid_note, note),
        CASE WHEN status IS DISTINCT FROM 'done' THEN format('the cell is {}', status)
            WHEN images_per_s IS NULL THEN 'every round was throttled' END
    ), '') AS note
FROM rated
ORDER BY run_id, position, cell_id
