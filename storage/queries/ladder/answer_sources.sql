-- The cells that have ladder rows, each with the all-exit pass of its run that gives its
-- predictions (source_id): routed cells, source_id NULL if there is no such pass; and all-exit
-- passes in settings that were not timed in that run, each its own source.
--
-- If that pass answers a sample only (pass_id), its lender's gives the predictions
-- (borrowed_passes.sql): source_id is NULL if the lender has not answered all images, for the reason in
-- accuracy_reason; borrowed_from and sample_id say that predictions are borrowed, and which cell has
-- the sample.
WITH
exit_rows AS (
    SELECT run_id, cell_id, min(node) AS node
    FROM exits GROUP BY run_id, cell_id
),
passes AS (
    SELECT c.*, r.node AS rows_node
    FROM cells c JOIN exit_rows r USING (run_id, cell_id)
    WHERE c.kind = 'exits'
),
-- Each timed cell and the all-exit pass that gives its predictions: a finished one, then the largest,
-- then the most similar one.
timed AS (
    SELECT l.*, p.cell_id AS pass_id
    FROM cells l
    LEFT JOIN passes p
        ON p.run_id = l.run_id
        AND p.model IS NOT DISTINCT FROM l.model
        AND p.checkpoint_sha256 IS NOT DISTINCT FROM l.checkpoint_sha256
        AND p.exit_blocks IS NOT DISTINCT FROM l.exit_blocks
        AND p.dataset IS NOT DISTINCT FROM l.dataset
        AND p.dataset_sha256 IS NOT DISTINCT FROM l.dataset_sha256
        AND p.device IS NOT DISTINCT FROM l.device
        AND p.runtime IS NOT DISTINCT FROM l.runtime
        AND p.precision IS NOT DISTINCT FROM l.precision
        AND p.threads IS NOT DISTINCT FROM l.threads
    WHERE l.kind = 'latency'
    QUALIFY row_number() OVER (
        PARTITION BY l.run_id, l.cell_id
        ORDER BY (p.status = 'done') DESC NULLS LAST, p.images DESC NULLS LAST, (p.node IS NOT DISTINCT FROM l.node) DESC,
            (p.batch_size IS NOT DISTINCT FROM l.batch_size) DESC, p.position, p.cell_id
    ) = 1
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
