-- The samples behind the mean latencies of a run's ladder, for their intervals: one row per routed
-- cell, node and unthrottled round, with three lists by batch: its total time, its number of
-- images, and its first image, which identifies the same batch in another round. Cells with fewer
-- batches than a median needs are left out: so few do not show how they vary.
WITH
kept AS (
    SELECT r.cell_id, r.node, r.round, r.image_id, r.forward_ms,
        -- The images of a batch share one start; an image without one is a batch of its own.
        CASE WHEN r.batch_size > 1 THEN r.started_at END AS batch_started_at,
        CASE WHEN batch_started_at IS NULL THEN r.image_id END AS only_image_id
    FROM records r
    ANTI JOIN throttled_rounds t
        ON t.run_id = r.run_id AND t.cell_id = r.cell_id AND t.round = r.round
    WHERE r.run_id = $run_id AND r.forward_ms IS NOT NULL
),
batches AS (
    SELECT cell_id, node, round, batch_started_at, only_image_id,
        sum(forward_ms) AS total_ms,
        count(*)::DOUBLE AS images,
        min(image_id) AS first_image_id
    FROM kept
    GROUP BY cell_id, node, round, batch_started_at, only_image_id
)
SELECT cell_id, node, round,
    list(total_ms ORDER BY batch_started_at, only_image_id) AS total_ms,
    list(images ORDER BY batch_started_at, only_image_id) AS images,
    list(first_image_id ORDER BY batch_started_at, only_image_id) AS first_image_id
FROM batches
GROUP BY cell_id, node, round
QUALIFY sum(count(*)) OVER (PARTITION BY cell_id, node) >= samples_for(50)
ORDER BY cell_id, node, round
