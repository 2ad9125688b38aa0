-- How many images of each class were taken for each class, in the cells of the ladder of one run:
-- the answers that acc1 is computed from (image_answers.sql). prediction is NULL for images whose
-- logits are not finite; predicted_name also for a class that no image of the data set has.
-- mean_blocks is that of these images.
WITH
names AS (
    SELECT dataset_sha256, label, any_value(class_name) AS class_name
    FROM images
    GROUP BY dataset_sha256, label
),
counted AS (
    SELECT run_id, cell_id, dataset_sha256, label, prediction, count(*) AS images,
        avg(exit_block + 1) AS mean_blocks,
        any_value(accuracy_from) AS accuracy_from
    FROM image_answers(run)
    GROUP BY run_id, cell_id, dataset_sha256, label, prediction
)
SELECT c.run_id, c.cell_id, s.model, s.dataset, s.device, s.node, s.runtime, s.precision, s.threads,
    s.batch_size, s.threshold, s.thresholds, c.dataset_sha256, c.label, n.class_name, c.prediction,
    p.class_name AS predicted_name, c.images, c.mean_blocks, c.accuracy_from
FROM counted c
JOIN cells s ON s.run_id = c.run_id AND s.cell_id = c.cell_id
LEFT JOIN names n ON n.dataset_sha256 = c.dataset_sha256 AND n.label = c.label
LEFT JOIN names p ON p.dataset_sha256 = c.dataset_sha256 AND p.label = c.prediction
ORDER BY c.run_id, s.position, c.cell_id, c.label, c.prediction
