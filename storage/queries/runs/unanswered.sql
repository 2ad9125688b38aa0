-- The cells with images that the model could not answer: their logits, or the loss made of them, are
-- not finite (NaN or infinite), of whichever exit or round. Such a cell is not valid and has no
-- accuracy: an average over the other images would be one of other images. kind: what its rows are of.
SELECT run_id, cell_id, 'exits' AS kind, count(DISTINCT image_id) AS images
FROM exits
WHERE NOT isfinite(loss)
GROUP BY run_id, cell_id
UNION ALL
SELECT run_id, cell_id, 'latency' AS kind, count(DISTINCT image_id) AS images
FROM records
WHERE NOT isfinite(loss)
GROUP BY run_id, cell_id
