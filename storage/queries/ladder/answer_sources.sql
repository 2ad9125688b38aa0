-- The cells that have ladder rows, each with the all-exit pass of its run that gives its
-- predictions (source_id): routed cells, source_id NULL if there is no such pass; and all-exit
-- passes in settings that were not timed in that run, each its own source.
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
-- Each timed cell and the all-exit pass that gives its predictions: the largest, then the most
-- similar one.
timed AS (
    SELECT l.*, p.cell_id AS source_id
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
        ORDER BY p.images DESC NULLS LAST, (p.node IS NOT DISTINCT FROM l.node) DESC,
            (p.batch_size IS NOT DISTINCT FROM l.batch_size) DESC, p.position, p.cell_id
    ) = 1
),
untimed AS (
    SELECT e.*, e.cell_id AS source_id
    FROM cells e
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
FROM timed UNION ALL FROM untimed
