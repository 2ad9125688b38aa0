-- How far each cell of one run on another engine is from eager float32, over all its shards, in the
-- order of the grid. Cells of eager float32, and cells that were not compared, have no row.
SELECT c.cell_id, c.kind, c.model, c.dataset, c.device, c.node, c.runtime, c.precision, c.threads,
    c.batch_size, c.exit_blocks, c.threshold, c.thresholds, c.position,
    sum(a.images)::BIGINT AS images,
    max(a.max_logit_difference) AS max_logit_difference,
    sum(a.answer_flips)::BIGINT AS answer_flips,
    sum(a.exit_flips)::BIGINT AS exit_flips,
    max(a.max_gate_difference) AS max_gate_difference
FROM reference_agreement a
JOIN cells c USING (run_id, cell_id)
WHERE a.run_id = $run_id
GROUP BY ALL
ORDER BY c.dataset, c.device, c.node, c.threads, c.position, c.cell_id
