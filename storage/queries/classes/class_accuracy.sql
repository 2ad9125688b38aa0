-- Each class in the cells of the ladder of one run: accuracy of its images, mean_blocks until they
-- exit, how many images were taken for it (predicted_images) and the share of these that are of it,
-- and the class that most of its images were mistaken for, of several the one of the lowest label.
-- As in the ladder, a cell with logits that are not finite has no accuracy.
WITH
counted AS (
    SELECT *, bool_or(prediction IS NULL) OVER (PARTITION BY run_id, cell_id) AS is_unanswered
    FROM confusion(run)
),
taken AS (
    SELECT run_id, cell_id, prediction AS label, sum(images)::BIGINT AS predicted_images
    FROM counted
    WHERE prediction IS NOT NULL
    GROUP BY run_id, cell_id, prediction
),
classes AS (
    SELECT run_id, cell_id, dataset_sha256, label, any_value(class_name) AS class_name,
        sum(images)::BIGINT AS images,
        coalesce(sum(images) FILTER (prediction = label), 0)::BIGINT AS right_images,
        sum(images * mean_blocks) / sum(images) AS mean_blocks,
        bool_or(is_unanswered) AS is_unanswered,
        any_value(accuracy_from) AS accuracy_from,
        list({label: prediction, name: predicted_name, images: images}
            ORDER BY images DESC, prediction) FILTER (prediction <> label) AS mistaken
    FROM counted
    GROUP BY run_id, cell_id, dataset_sha256, label
)
SELECT c.run_id, c.cell_id, s.model, s.dataset, s.device, s.node, s.runtime, s.precision, s.threads,
    s.batch_size, s.threshold, s.thresholds, c.dataset_sha256, c.label, c.class_name, c.images,
    CASE WHEN NOT c.is_unanswered THEN 100 * c.right_images / c.images END AS acc1,
    c.mean_blocks,
    coalesce(t.predicted_images, 0) AS predicted_images,
    CASE WHEN NOT c.is_unanswered THEN 100 * c.right_images / t.predicted_images END
        AS predicted_right_pct,
    c.mistaken[1].label AS mistaken_for, c.mistaken[1].name AS mistaken_for_name,
    c.mistaken[1].images AS mistaken_images,
    c.accuracy_from
FROM classes c
JOIN cells s ON s.run_id = c.run_id AND s.cell_id = c.cell_id
LEFT JOIN taken t ON t.run_id = c.run_id AND t.cell_id = c.cell_id AND t.label = c.label
ORDER BY c.run_id, s.position, c.cell_id, c.label
