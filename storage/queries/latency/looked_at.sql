-- The timed cells of a run whose rounds end when their figures are known, with the rounds that have
-- run, throttled ones included: after so many their intervals were last looked at.
SELECT c.cell_id, coalesce(max(r.round) + 1, c.rounds) AS rounds
FROM cells c
LEFT JOIN rounds r ON r.run_id = c.run_id AND r.cell_id = c.cell_id
WHERE c.run_id = $run_id AND c.until_pct IS NOT NULL
GROUP BY c.cell_id, c.rounds
ORDER BY c.cell_id
