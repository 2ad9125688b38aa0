-- What the means of a run's ladder are made of, for their intervals: one row a routed cell, node and
-- unthrottled round, with three lists: what the images of each batch took together, how many they
-- were, and the first of them, by which the same batch is found in another round. Cells with fewer batches than a median needs are left out: so few do not say how they vary.
WITH
kept AS (
    SELECT r.cell_id, r.node, r.round, r.image_id, r.forward_ms,
        -- A batch has one start; without it an image stands alone.
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
