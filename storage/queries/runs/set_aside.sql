-- The nodes of one run that were set aside for failing tasks that others completed, and their
-- errors.
SELECT node, note
FROM nodes
WHERE run_id = $run_id AND starts_with(note, 'set aside')
ORDER BY node
