-- The names of a data set's classes, of those that have one.
SELECT label, any_value(class_name) AS class_name
FROM images
WHERE dataset_sha256 = $dataset_sha256 AND class_name IS NOT NULL
GROUP BY label
ORDER BY label
