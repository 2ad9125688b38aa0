-- The cells that have ladder rows, each with the all-exit pass of its run that gives its
-- predictions (source_id): routed cells (matching_passes.sql), source_id NULL if there is no such
-- pass; and all-exit passes in settings that were not timed in that run, each its own source.
--
-- If that pass answers a sample only (pass_id), its lender's gives the predictions
-- (borrowed_passes.sql): source_id is NULL if the lender has not answered all images, for the reason in
-- accuracy_reason; borrowed_from and sample_id say that predictions are borrowed, and which cell has
-- the sample.
WITH
timed AS (
    SELECT l.*, p.pass_id
    FROM cells l LEFT JOIN matching_passes p USING (run_id, cell_id)
    WHERE l.kind = 'latency'
),
untimed AS (
    SELECT e.*, e.cell_id AS pass_id
    FROM cells e
    ANTI JOIN (FROM borrowed_passes WHERE is_superseded) s
        ON s.run_id = e.run_id AND s.cell_id = e.cell_id
    ANTI JOIN (FROM cells WHERE kind = 'latency') l
        ON l.run_id = e.run_id
        AND l.model IS NOT DISTINCT FROM e.model
        AND l.dataset IS NOT DISTINCT FROM e.dataset
        AND l.dataset_sha256 IS NOT DISTINCT FROM e.dataset_sha256
        AND l.device IS NOT DISTINCT FROM e.device
        AND l.runtime IS NOT DISTINCT FROM e.runtime
        AND l.precision IS NOT DISTINCT FROM e.precision
        AND l.threads IS NOT DISTINCT FROM e.threads
    WHERE e.kind = 'exits'
)
SELECT t.* EXCLUDE (borrowed_from, pass_id),
    CASE WHEN b.cell_id IS NULL THEN t.pass_id ELSE b.lender_id END AS source_id,
    b.borrowed_from,
    b.cell_id AS sample_id,
    b.reason AS accuracy_reason
FROM (FROM timed UNION ALL FROM untimed) t
LEFT JOIN borrowed_passes b ON b.run_id = t.run_id AND b.cell_id = t.pass_id
