-- The nodes of one run that failed what others did, and what they failed with.
SELECT node, note
FROM nodes
WHERE run_id = $run_id AND starts_with(note, 'set aside')
ORDER BY node
