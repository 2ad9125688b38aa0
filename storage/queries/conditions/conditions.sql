-- The machine's state while a timed cell ran, over its unthrottled rounds on one node; note
-- describes what forbids comparing it without a warning. What a machine does not report is NULL,
-- without a note.
--
-- * is_steady: false if the power mode changed among the cell's own rounds: their mean belongs to
--   no mode. The ladder marks such a cell as invalid, and no latency is composed from it. Rows of
--   older versions have a mode's number alone: on a node where one mode has that number, it is it.
-- * Power mode and governor must be constant throughout the run, on this node and device.
-- * clock: the highest of the rounds' readings must be within 5 % of the highest of all cells in
--   the same setting (data set, node, device, runtime, precision, threads, batch size). The highest,
--   because a governor lowers the clock whenever a processor waits: a low reading may be from such
--   a moment, but a high one shows that the clock was reached. 5 %, because fewer threads or more
--   heat change a processor's boost by 2 or 3 %, and 5 % of the clock are up to 5 % of the
--   milliseconds.
-- * load: the mean by time, 0 to 1, is reported from 0.1 on: there others take a tenth of all
--   processors. It is counted in ticks of 10 ms, so it means nothing for less than a second.
-- * gpu_others: the most other processes that had the GPU in use before or after a round.
WITH
named AS (
    SELECT run_id, node, regexp_extract(mode, '\((\d+)\)$', 1) AS number, min(mode) AS mode
    FROM (
        SELECT DISTINCT run_id, node, unnest(string_split(power_mode, ', ')) AS mode
        FROM rounds
        WHERE power_mode IS NOT NULL
    )
    GROUP BY run_id, node, number
    HAVING number <> '' AND count(*) = 1
),
kept AS (
    SELECT r.*, epoch(r.ended_at - r.started_at) AS seconds
    FROM rounds r
    ANTI JOIN throttled_rounds t
        ON t.run_id = r.run_id AND t.cell_id = r.cell_id AND t.round = r.round
),
modes AS (
    -- A mode that changed between two readings is stored as `0, 1`. The governors of several
    -- clusters are stored in the same way, but are one state.
    SELECT k.run_id, k.cell_id, k.node,
        list_sort(list(DISTINCT coalesce(n.mode, k.mode))) AS power_modes
    FROM (
        SELECT run_id, cell_id, node, unnest(string_split(power_mode, ', ')) AS mode
        FROM kept
        WHERE power_mode IS NOT NULL
    ) k
    LEFT JOIN named n
        ON n.run_id = k.run_id AND n.node IS NOT DISTINCT FROM k.node AND n.number = k.mode
    GROUP BY k.run_id, k.cell_id, k.node
),
states AS (
    SELECT run_id, cell_id, node,
        list_sort(list(DISTINCT governor) FILTER (governor IS NOT NULL)) AS governors,
        avg(clock_mhz) AS clock_mhz,
        min(clock_mhz) AS min_clock_mhz,
        max(clock_mhz) AS max_clock_mhz,
        sum(seconds) FILTER (load IS NOT NULL) AS load_s,
        coalesce(sum(load * seconds) / nullif(load_s, 0), avg(load)) AS load,
        max(gpu_others) AS gpu_others
    FROM kept
    GROUP BY run_id, cell_id, node
),
beside AS (
    SELECT s.*, c.position, m.power_modes,
        flatten(list(m.power_modes) OVER machine) AS all_modes,
        flatten(list(s.governors) OVER machine) AS all_governors,
        max(s.max_clock_mhz) OVER (
            PARTITION BY s.run_id, s.node, c.device, c.dataset, c.dataset_sha256, c.runtime,
                c.precision, c.threads, c.batch_size
        ) AS highest_clock_mhz
    FROM states s
    JOIN cells c ON c.run_id = s.run_id AND c.cell_id = s.cell_id
    LEFT JOIN modes m
        ON m.run_id = s.run_id AND m.cell_id = s.cell_id AND m.node IS NOT DISTINCT FROM s.node
    WINDOW machine AS (PARTITION BY s.run_id, s.node, c.device)
)
SELECT run_id, cell_id, node,
    nullif(array_to_string(power_modes, ', '), '') AS power_mode,
    nullif(array_to_string(governors, ' / '), '') AS governor,
    clock_mhz, min_clock_mhz, max_clock_mhz, highest_clock_mhz, load,
    gpu_others,
    coalesce(len(power_modes) <= 1, true) AS is_steady,
    nullif(concat_ws('; ',
        CASE WHEN NOT is_steady
            THEN format('conditions: the power mode changed while it was timed: {}', power_mode) END,
        CASE WHEN len(governors) > 1
            THEN format('conditions: governor changed while it was timed: {}', governor) END,
        condition_words('power mode', power_modes, all_modes),
        condition_words('governor', governors, all_governors),
        CASE WHEN max_clock_mhz < 0.95 * highest_clock_mhz
            THEN 'conditions: a clock more than 5 % below the highest beside it' END,
        CASE WHEN load >= 0.1 AND load_s >= 1
            THEN 'conditions: others used 10 % of the processors or more' END,
        CASE WHEN gpu_others > 0
            THEN 'conditions: other processes had the GPU in use' END
    ), '') AS note
FROM beside
ORDER BY run_id, position, cell_id, node
