-- What each cell took of its workers besides time, by node: how long the first of them took to start,
-- and the peaks over all its tasks. A figure is NULL if no worker had to do that, or if the system
-- does not say; the note has the reason.
WITH by_node AS (
    SELECT k.run_id, k.cell_id, k.node,
        arg_min(k.load_s, k.committed_at) AS load_s,
        arg_min(k.build_s, k.committed_at) AS build_s,
        arg_min(k.first_answer_s, k.committed_at) AS first_answer_s,
        max(k.peak_process_bytes) AS peak_process_bytes,
        max(k.peak_device_bytes) AS peak_device_bytes
    FROM commits k
    GROUP BY k.run_id, k.cell_id, k.node
)
SELECT c.run_id, c.cell_id, c.kind, c.model, c.dataset, c.device, b.node, c.runtime, c.precision,
    c.threads, c.batch_size, c.checkpoint_bytes,
    b.* EXCLUDE (run_id, cell_id, node),
    nullif(concat_ws('; ',
        CASE WHEN b.load_s IS NULL THEN 'load_s: loaded for an earlier cell, or by an earlier gfjobs' END,
        CASE WHEN b.build_s IS NULL AND c.runtime = 'torch' AND c.precision = 'float32'
                THEN 'build_s: eager float32 is the model itself'
            WHEN b.build_s IS NULL
                THEN 'build_s: built for an earlier cell, or by an earlier gfjobs' END,
        CASE WHEN b.peak_process_bytes IS NULL
            THEN 'peak_process_bytes: the system does not say' END,
        CASE WHEN b.peak_device_bytes IS NULL
            THEN 'peak_device_bytes: torch counts none there' END
    ), '') AS note
FROM by_node b
JOIN cells c USING (run_id, cell_id)
ORDER BY c.run_id, c.position, c.cell_id, b.node
