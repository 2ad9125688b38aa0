-- The mean power of each window: of one phase of one task, or of one exit that a task forced
-- (exit_block). In unthrottled rounds, from rail 'total', which every node with a total has,
-- whether chosen or summed. Means are trapezoidal over time, so that uneven sampling does not
-- distort them; if no time passes between samples (there is only one) they count equally. Rows
-- without power mark where a window begins or ends, for a meter's log (power_marks.sql).
WITH
samples AS (
    SELECT run_id, cell_id, node, round, shard, phase, exit_block, power_mw,
        epoch_us(sampled_at) - epoch_us(lag(sampled_at) OVER in_order) AS gap_us,
        (power_mw + lag(power_mw) OVER in_order) / 2 AS gap_mw
    FROM power
    ANTI JOIN throttled_rounds USING (run_id, cell_id, round)
    WHERE rail = 'total' AND power_mw IS NOT NULL
    WINDOW in_order AS (
        PARTITION BY run_id, cell_id, node, round, shard, phase, exit_block ORDER BY sampled_at
    )
)
SELECT run_id, cell_id, node, round, shard, phase, exit_block,
    count(*) AS samples,
    coalesce(sum(gap_us), 0)::BIGINT AS duration_us,
    CASE WHEN sum(gap_us) > 0 THEN sum(gap_us * gap_mw) / sum(gap_us)
        ELSE avg(power_mw) END / 1000 AS power_w
FROM samples
GROUP BY run_id, cell_id, node, round, shard, phase, exit_block
