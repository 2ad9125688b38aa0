-- The routes whose exit or prediction differs from the all-exit pass (certificate.sql), one row per
-- flip. threshold and gate_score are those of the deciding block, the earlier of the two exits;
-- gate_score is the pass's.
SELECT f.run_id, f.cell_id, f.exits_cell_id, l.model, l.dataset, f.round, f.image_id,
    f.routed_exit_block, f.replayed_exit_block, f.routed_prediction, f.replayed_prediction,
    f.deciding_block, f.deciding_threshold AS threshold, f.deciding_score AS gate_score,
    f.gate_distance, f.dataset_sha256
FROM compared_routes(run) f
JOIN cells l ON l.run_id = f.run_id AND l.cell_id = f.cell_id
WHERE f.is_exit_flip OR f.is_answer_flip
ORDER BY l.run_id, l.position, l.cell_id, f.exits_cell_id, f.round, f.image_id
