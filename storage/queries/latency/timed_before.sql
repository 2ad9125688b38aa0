-- The newest runs in which any of these checkpoints was timed to the end: their rounds show how much
-- rounds differ. For the planner's estimate of how many are needed; it reads no rows.
SELECT c.run_id
FROM cells c
JOIN runs r ON r.run_id = c.run_id
WHERE c.kind = 'latency' AND c.status = 'done' AND c.is_valid
    AND list_contains($checkpoints, c.checkpoint_sha256)
GROUP BY c.run_id, r.submitted_at
ORDER BY r.submitted_at DESC, c.run_id
LIMIT 3
