-- How many times as long each exit of one model takes after a pause, in the setting of one of its cells:
-- of each unthrottled round of valid serving cells, which measure it before requests arrive.
SELECT r.pause_ratios
FROM cells c
JOIN cells k
    ON k.run_id = c.run_id AND k.kind = 'serving'
    AND k.dataset IS NOT DISTINCT FROM c.dataset
    AND k.dataset_sha256 IS NOT DISTINCT FROM c.dataset_sha256
    AND same_setting(k, c)
JOIN rounds r ON r.run_id = k.run_id AND r.cell_id = k.cell_id
ANTI JOIN throttled_rounds t
    ON t.run_id = r.run_id AND t.cell_id = r.cell_id AND t.round = r.round
ANTI JOIN invalid_cells i ON i.run_id = k.run_id AND i.cell_id = k.cell_id
WHERE c.run_id = $run_id AND c.cell_id = $cell_id AND r.pause_ratios IS NOT NULL
ORDER BY k.position, k.cell_id, r.round
