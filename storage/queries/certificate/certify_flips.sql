-- The flips of one run, those with the score farthest from its threshold first.
FROM flips($run_id)
ORDER BY gate_distance DESC NULLS LAST, model, image_id, round
LIMIT $most
