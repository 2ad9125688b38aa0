-- The cells of each run without figures, or without reliable ones, and why: cells that failed, were
-- skipped or cancelled, are not done, or are not valid, and cells with throttled rounds, in the
-- order of the grid.
WITH
throttled AS (
    SELECT run_id, cell_id, count(*) AS throttled_rounds
    FROM throttled_rounds
    GROUP BY run_id, cell_id
)
SELECT c.run_id, c.kind, c.model, c.dataset, c.device, c.node, c.runtime, c.precision, c.threads,
    c.batch_size, c.threshold, c.thresholds, c.status, c.rounds,
    coalesce(t.throttled_rounds, 0) AS throttled_rounds,
    i.cell_id IS NULL AND c.is_valid IS NOT FALSE AS is_valid,
    nullif(coalesce(i.note, concat_ws('; ',
        c.note, regexp_extract(trim(c.error, e' \n'), '[^\n]*$'))), '') AS note
FROM cells c
LEFT JOIN invalid_cells i ON i.run_id = c.run_id AND i.cell_id = c.cell_id
LEFT JOIN throttled t ON t.run_id = c.run_id AND t.cell_id = c.cell_id
WHERE c.status IS DISTINCT FROM 'done' OR i.cell_id IS NOT NULL OR c.is_valid IS FALSE
    OR t.throttled_rounds > 0
ORDER BY c.run_id, c.position, c.cell_id
