-- The regressions and improvements found in earlier runs of the same name, oldest first.
SELECT g.*
FROM regressions g
JOIN runs r ON r.run_id = g.run_id
JOIN runs judged ON judged.name = r.name AND judged.run_id = $run_id
WHERE g.verdict IN ('regression', 'improvement')
    AND (r.submitted_at, r.run_id) < (judged.submitted_at, judged.run_id)
ORDER BY r.submitted_at, r.run_id
