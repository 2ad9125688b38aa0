-- The all-exit pass of its run that gives the predictions of a routed or served cell (pass_id): a
-- finished one, then the largest, then the most similar one. No row if none has any rows.
SELECT l.run_id, l.cell_id,
    p.cell_id AS pass_id, p.status, p.images, p.borrowed_from
FROM cells l
JOIN (
    FROM cells SEMI JOIN exits USING (run_id, cell_id)
    WHERE kind = 'exits'
) p ON p.run_id = l.run_id AND p.device IS NOT DISTINCT FROM l.device AND same_work(p, l)
WHERE l.kind IN ('latency', 'serving')
QUALIFY row_number() OVER (
    PARTITION BY l.run_id, l.cell_id
    ORDER BY (p.status = 'done') DESC NULLS LAST, p.images DESC NULLS LAST,
        (p.node IS NOT DISTINCT FROM l.node) DESC,
        (p.batch_size IS NOT DISTINCT FROM l.batch_size) DESC, p.position, p.cell_id
) = 1
