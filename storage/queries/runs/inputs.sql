-- The inputs of one run: the checkpoints and data sets of its cells, and the images that int8 takes
-- its ranges from, by their digests.
SELECT 'checkpoint' AS kind, model AS name, checkpoint_sha256 AS sha256, any_value(params) AS params,
    any_value(depth) AS depth, any_value(exit_blocks) AS exit_blocks, NULL::INTEGER AS images
FROM cells
WHERE run_id = $run_id
GROUP BY model, checkpoint_sha256
UNION ALL
SELECT 'data set', dataset, dataset_sha256, NULL, NULL, NULL, max(images)
FROM cells
WHERE run_id = $run_id
GROUP BY dataset, dataset_sha256
UNION ALL
SELECT 'calibration', calibration_dataset, calibration_sha256, NULL, NULL, NULL,
    max(calibration_images)
FROM cells
WHERE run_id = $run_id AND calibration_sha256 IS NOT NULL
GROUP BY calibration_dataset, calibration_sha256
ORDER BY kind, name, sha256
