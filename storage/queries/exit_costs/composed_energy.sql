-- The composed mean energy at any thresholds, `[t]` or one per gate, for the models with gates of a
-- run: the energy of each exit (trusted_exit_energies.sql), weighted by the share of images that
-- take it.
-- margin_mj is half its 95 % interval: the exits' own, each weighted by its share, taken as
-- independent.
WITH
points AS (
    SELECT a.*, t.exit_mj, t.exit_margin_mj, t.energy_source, t.note,
        list_transform(list_append(gates(c.exit_blocks, c.depth), c.depth - 1),
            lambda block: a.exit_counts[block + 1] / a.images) AS exit_shares
    FROM at_thresholds(ts) a
    JOIN cells c ON c.run_id = a.run_id AND c.cell_id = a.cell_id
    JOIN trusted_exit_energies(run) t ON t.run_id = a.run_id AND t.cell_id = a.cell_id
    WHERE a.thresholds IS NOT NULL
)
SELECT run_id, cell_id, model, dataset, device, node, runtime, precision, threads, thresholds,
    exit_shares,
    list_inner_product(exit_shares, exit_mj) AS energy_mj,
    sqrt(list_sum(list_transform(list_zip(exit_shares, exit_margin_mj),
        lambda exit: exit[1] ** 2 * exit[2] ** 2))) AS margin_mj,
    energy_source,
    note
FROM points
ORDER BY run_id, cell_id
