-- The images of the data sets that a run used; a root has each data set once.
SELECT dataset_sha256, image_id, path, label, class_name
FROM images
SEMI JOIN (SELECT dataset_sha256 FROM cells WHERE run_id = $run_id) USING (dataset_sha256)
ORDER BY dataset_sha256, image_id
