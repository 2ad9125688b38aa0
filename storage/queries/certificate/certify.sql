-- The certificate of one run, in the order of its cells.
SELECT certified.*
FROM certificate($run_id) certified
JOIN cells c ON c.run_id = certified.run_id AND c.cell_id = certified.cell_id
ORDER BY certified.dataset, certified.device, certified.node, certified.runtime,
    certified.precision, certified.threads, c.position, certified.cell_id
