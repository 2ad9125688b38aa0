-- The flips of one run whose score stood farthest from its threshold.
FROM flips($run_id)
ORDER BY gate_distance DESC NULLS LAST, model, image_id, round
LIMIT $most
