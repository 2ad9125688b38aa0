-- The inputs of each run: the checkpoints and data sets of their cells, and the images that int8
-- takes its ranges from, by their digests.
SELECT run_id, 'checkpoint' AS kind, model AS name, checkpoint_sha256 AS sha256,
    any_value(params) AS params, any_value(depth) AS depth, any_value(exit_blocks) AS exit_blocks,
    NULL::INTEGER AS images
FROM cells
GROUP BY run_id, model, checkpoint_sha256
UNION ALL
SELECT run_id, 'data set', dataset, dataset_sha256, NULL, NULL, NULL, max(images)
FROM cells
GROUP BY run_id, dataset, dataset_sha256
UNION ALL
SELECT run_id, 'calibration', calibration_dataset, calibration_sha256, NULL, NULL, NULL,
    max(calibration_images)
FROM cells
WHERE calibration_sha256 IS NOT NULL
GROUP BY run_id, calibration_dataset, calibration_sha256
ORDER BY run_id, kind, name, sha256
