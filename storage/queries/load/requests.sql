-- The requests of one serving cell in its unthrottled rounds, in order of arrival.
SELECT r.round, r.request, r.image_id, r.exit_block, r.arrived_ms, r.began_ms, r.ended_ms
FROM responses r
ANTI JOIN throttled_rounds t
    ON t.run_id = r.run_id AND t.cell_id = r.cell_id AND t.round = r.round
WHERE r.run_id = $run_id AND r.cell_id = $cell_id
ORDER BY r.round, r.request
