-- The finished all-exit passes of one run whose models have gates to choose thresholds for, and
-- what each exit costs in time and energy, if known. exit_forward_ms_looked: how many times as wide
-- an interval of its times must be (looked_margin.sql). source_id: the pass that has the answers, that of
-- another device if they are borrowed (borrowed_passes.sql); a pass that cannot borrow them is left out.
SELECT c.cell_id, c.model, c.checkpoint_sha256, c.dataset, c.dataset_sha256, c.device, c.node,
    c.runtime, c.precision, c.threads, c.batch_size, c.depth, c.num_classes,
    coalesce(c.exit_rule, 'gate') AS exit_rule,
    gates(c.exit_blocks, c.depth) AS gates,
    t.exit_ms AS exit_forward_ms,
    t.is_promised AS is_exit_forward_ms_promised,
    t.verdict AS exit_forward_ms_verdict,
    t.error_pct AS exit_forward_ms_error_pct,
    t.note AS exit_forward_ms_note,
    looked_margin(k.rounds, k.counted, k.cell_id IS NOT NULL) AS exit_forward_ms_looked,
    e.exit_mj AS exit_energy_mj,
    e.exit_margin_mj AS exit_energy_margin_mj,
    e.note AS exit_energy_mj_note,
    e.energy_source AS exit_energy_source,
    MAP {50: samples_for(50), 90: samples_for(90), 99: samples_for(99)} AS samples_for,
    CASE WHEN c.borrowed_from IS NULL THEN c.cell_id ELSE b.lender_id END AS source_id,
    c.borrowed_from AS accuracy_from
FROM cells c
LEFT JOIN borrowed_passes b ON b.run_id = c.run_id AND b.cell_id = c.cell_id
JOIN trusted_exit_costs($run_id) t ON t.run_id = c.run_id AND t.cell_id = c.cell_id
LEFT JOIN looked_rounds k ON k.run_id = t.run_id AND k.cell_id = t.costs_cell_id
JOIN trusted_exit_energies($run_id) e ON e.run_id = c.run_id AND e.cell_id = c.cell_id
WHERE c.run_id = $run_id AND c.kind = 'exits' AND c.status = 'done' AND len(gates) > 0
    AND source_id IS NOT NULL
ORDER BY c.position, c.cell_id
