-- The predictions of one run: one row per cell of the ladder, its images in order.
SELECT cell_id,
    any_value(dataset_sha256) AS dataset_sha256,
    list(image_id ORDER BY image_id) AS image_id,
    list(label ORDER BY image_id) AS label,
    list(prediction ORDER BY image_id) AS prediction,
    list(is_correct ORDER BY image_id) AS is_correct,
    list(exit_block ORDER BY image_id) AS exit_block
FROM image_answers($run_id)
GROUP BY cell_id
ORDER BY cell_id
