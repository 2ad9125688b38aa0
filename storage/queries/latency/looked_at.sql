-- After how many rounds the intervals of a run's cells were last looked at (looked_rounds.sql).
SELECT cell_id, rounds
FROM looked_rounds
WHERE run_id = $run_id
ORDER BY cell_id
