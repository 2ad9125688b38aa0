-- The timed cells whose rounds end when their figures are known, with the rounds that have run,
-- throttled ones included: after so many their intervals were last looked at. cells.rounds is the most
-- that may run until they have ended. counted: those that are not throttled.
SELECT c.run_id, c.cell_id, coalesce(max(r.round) + 1, c.rounds) AS rounds,
    count(DISTINCT r.round) FILTER (t.round IS NULL) AS counted
FROM cells c
LEFT JOIN rounds r ON r.run_id = c.run_id AND r.cell_id = c.cell_id
LEFT JOIN throttled_rounds t
    ON t.run_id = r.run_id AND t.cell_id = r.cell_id AND t.round = r.round
WHERE c.until_pct IS NOT NULL
GROUP BY c.run_id, c.cell_id, c.rounds
