-- The measured cells of a run and of all earlier finished runs of the same name, oldest first: the
-- nights of a schedule.
SELECT r.submitted_at, r.status AS run_status, m.*
FROM measured m
JOIN runs r ON r.run_id = m.run_id
JOIN runs judged ON judged.name = r.name AND judged.run_id = $run_id
WHERE r.run_id = judged.run_id OR (
    r.status IN ('done', 'failed')
    AND (r.submitted_at, r.run_id) < (judged.submitted_at, judged.run_id)
)
ORDER BY r.submitted_at, r.run_id, m.position, m.cell_id, m.node
