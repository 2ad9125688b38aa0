-- The rows of one run, with what must be equal before they may be compared.
FROM measured WHERE run_id = $run_id ORDER BY position, cell_id, node
