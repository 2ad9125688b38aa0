-- Where the forward passes in the profiles of one run spend their time: one row per cell and
-- component, summed over blocks, in the order of a pass. Figures per image are means over the
-- images that ran.
SELECT c.cell_id, c.model, c.dataset, c.device, c.node, c.runtime, c.precision, c.threads,
    c.batch_size, any_value(k.images) AS images, p.component,
    sum(p.calls) / any_value(k.images) AS calls_per_image,
    sum(p.total_ms) / any_value(k.images) AS ms_per_image,
    100 * sum(p.share) AS share_pct
FROM profile p
JOIN cells c USING (run_id, cell_id)
JOIN (
    SELECT run_id, cell_id, sum(rows)::BIGINT AS images FROM commits GROUP BY run_id, cell_id
) k USING (run_id, cell_id)
WHERE p.run_id = $run_id
GROUP BY c.cell_id, c.model, c.dataset, c.device, c.node, c.runtime, c.precision, c.threads,
    c.batch_size, c.position, p.component
ORDER BY c.position, c.cell_id, list_position([
    'stage', 'patch_embed', 'norm1', 'filter_forward', 'filter_product', 'filter_inverse', 'filter', 'norm2',
    'mlp', 'residual', 'exit_norm', 'exit_heads', 'exit_gate', 'exit_decision', 'norm', 'head',
    'other', 'profiling'], p.component)
