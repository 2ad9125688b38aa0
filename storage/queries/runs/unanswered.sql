-- The cells with images for which the model has no valid prediction: their logits, or the loss
-- computed from them, are not finite (NaN or infinite), at any exit or in any round. Such a cell is
-- not valid and has no accuracy: an average over the other images would describe other images.
-- kind: the kind of rows.
SELECT run_id, cell_id, 'exits' AS kind, count(DISTINCT image_id) AS images
FROM exits
WHERE NOT isfinite(loss)
GROUP BY run_id, cell_id
UNION ALL
SELECT run_id, cell_id, 'latency' AS kind, count(DISTINCT image_id) AS images
FROM records
WHERE NOT isfinite(loss)
GROUP BY run_id, cell_id
