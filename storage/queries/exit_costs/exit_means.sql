-- What each exit costs: the mean latency of images forced to it (exit_costs), in unthrottled
-- rounds. One row per cell and exit; an exit without such a round has none.
SELECT e.run_id, e.cell_id, e.exit_block,
    count(e.forward_ms) AS samples,
    avg(e.forward_ms) AS forward_ms
FROM exit_costs e
ANTI JOIN throttled_rounds t
    ON t.run_id = e.run_id AND t.cell_id = e.cell_id AND t.round = e.round
GROUP BY e.run_id, e.cell_id, e.exit_block
