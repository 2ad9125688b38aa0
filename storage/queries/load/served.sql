-- The responses of each serving cell, over its unthrottled rounds. Requests arrive at random times
-- (exponential gaps, fixed seed) and one server answers them in turn: a response is the time from
-- arrival to answer, waiting included. A round that cannot keep up is ended (jobs/worker/serving.py):
-- its last requests have no answer, how long the others took depends on how long it went on, and so
-- the cell has no percentiles, and is_overloaded is true. Accuracy is that of the run's all-exit pass
-- (matching_passes.sql) at the cell's thresholds; NULL if there is none or if it is not finished, and
-- of a sample if the device borrows its own.
WITH
responded AS (
    SELECT r.run_id, r.cell_id,
        count(DISTINCT r.round) AS rounds,
        count(*) AS requests,
        count(r.ended_ms) AS answered,
        avg(r.ended_ms - r.arrived_ms) AS response_ms,
        avg(r.began_ms - r.arrived_ms) AS wait_ms,
        avg(r.ended_ms - r.began_ms) AS service_ms,
        avg(r.exit_block + 1) AS mean_blocks,
        quantile_cont(r.ended_ms - r.arrived_ms, [0.5, 0.9, 0.99]) AS percentiles_ms
    FROM responses r
    ANTI JOIN throttled_rounds t
        ON t.run_id = r.run_id AND t.cell_id = r.cell_id AND t.round = r.round
    GROUP BY r.run_id, r.cell_id
),
-- Rounds that ran, also those in which no request arrived.
ran AS (
    SELECT o.run_id, o.cell_id, count(DISTINCT o.round) AS rounds
    FROM rounds o
    JOIN cells c ON c.run_id = o.run_id AND c.cell_id = o.cell_id AND c.kind = 'serving'
    ANTI JOIN throttled_rounds t
        ON t.run_id = o.run_id AND t.cell_id = o.cell_id AND t.round = o.round
    GROUP BY o.run_id, o.cell_id
),
lasted AS (
    -- A round lasts until its last answer, or until its arrivals are over.
    SELECT l.run_id, l.cell_id, sum(l.lasted_ms)
        + 1000 * any_value(c.arrivals_s) * greatest(any_value(n.rounds) - count(*), 0) AS lasted_ms
    FROM (
        SELECT r.run_id, r.cell_id, r.round,
            greatest(max(r.ended_ms), 1000 * any_value(c.arrivals_s) *
                (count(*) = count(r.ended_ms))::INTEGER) AS lasted_ms
        FROM responses r
        JOIN cells c ON c.run_id = r.run_id AND c.cell_id = r.cell_id
        ANTI JOIN throttled_rounds t
            ON t.run_id = r.run_id AND t.cell_id = r.cell_id AND t.round = r.round
        GROUP BY r.run_id, r.cell_id, r.round
    ) l
    JOIN cells c ON c.run_id = l.run_id AND c.cell_id = l.cell_id
    LEFT JOIN ran n ON n.run_id = l.run_id AND n.cell_id = l.cell_id
    GROUP BY l.run_id, l.cell_id
),
sources AS (
    SELECT s.run_id, s.cell_id, s.threshold, s.thresholds, s.exit_blocks,
        p.pass_id AS source_id, p.borrowed_from, p.images AS sample
    FROM cells s
    JOIN matching_passes p ON p.run_id = s.run_id AND p.cell_id = s.cell_id
    WHERE s.kind = 'serving' AND p.status = 'done'
),
-- Rates of one threshold share their accuracy, so it is replayed once.
replays AS (
    SELECT run_id, source_id, threshold, thresholds, any_value(exit_blocks) AS exit_blocks,
        row_number() OVER () AS replay
    FROM sources
    GROUP BY run_id, source_id, threshold, thresholds
),
accuracies AS (
    SELECT replay, 100 * avg(is_correct::INTEGER) AS acc1
    FROM (
        SELECT p.replay, e.image_id,
            -- Not arg_min: it would skip a NULL and take the prediction of a later exit.
            arg_min_null(e.is_correct, e.exit_block) AS is_correct
        FROM exits e
        JOIN replays p ON p.run_id = e.run_id AND p.source_id = e.cell_id
        WHERE leaves(
            e.gate_score,
            coalesce(p.thresholds[list_position(p.exit_blocks, e.exit_block)], p.threshold)
        )
        GROUP BY p.replay, e.image_id
    )
    GROUP BY replay
    HAVING count(*) = count(is_correct)
)
SELECT c.run_id, c.cell_id, c.model, c.dataset, c.device, c.node, c.runtime, c.precision, c.threads,
    c.threshold, c.thresholds, c.arrivals_per_s, c.arrivals_s, c.arrivals_seed,
    coalesce(greatest(n.rounds, r.rounds), 0) AS rounds,
    coalesce(r.requests, 0) AS requests,
    coalesce(r.answered, 0) AS answered,
    r.requests > r.answered AS is_overloaded,
    1000 * r.answered / nullif(l.lasted_ms, 0) AS answered_per_s,
    100 * r.answered * r.service_ms / nullif(l.lasted_ms, 0) AS busy_pct,
    a.acc1,
    r.mean_blocks,
    r.service_ms,
    CASE WHEN NOT is_overloaded THEN r.wait_ms END AS wait_ms,
    CASE WHEN NOT is_overloaded THEN r.response_ms END AS response_ms,
    CASE WHEN NOT is_overloaded AND r.answered >= samples_for(50) THEN r.percentiles_ms[1] END
        AS p50_ms,
    CASE WHEN NOT is_overloaded AND r.answered >= samples_for(90) THEN r.percentiles_ms[2] END
        AS p90_ms,
    CASE WHEN NOT is_overloaded AND r.answered >= samples_for(99) THEN r.percentiles_ms[3] END
        AS p99_ms,
    CASE WHEN i.cell_id IS NOT NULL THEN false ELSE c.is_valid END AS is_valid,
    nullif(concat_ws('; ',
        coalesce(i.note, c.note),
        CASE
            WHEN c.status IS DISTINCT FROM 'done' THEN format('the cell is {}', c.status)
            WHEN n.rounds > 0 AND r.requests IS NULL
                THEN 'no request arrived: serve more per second, or for longer'
            WHEN r.requests IS NULL THEN 'every round was throttled'
        END,
        CASE WHEN s.borrowed_from IS NOT NULL THEN format(
            'accuracy: of the sample of {} images that this device answered, not that of {}',
            s.sample, s.borrowed_from) END,
        CASE WHEN r.requests > r.answered THEN format(
            'overloaded: {} of {} requests had no answer when the rounds were ended',
            r.requests - r.answered, r.requests) END,
        CASE WHEN r.requests = r.answered AND r.answered < samples_for(50)
            THEN format('p50 needs {} requests, has {}', samples_for(50), r.answered) END,
        CASE WHEN r.requests = r.answered AND r.answered < samples_for(90)
            THEN format('p90 needs {} requests, has {}', samples_for(90), r.answered) END,
        CASE WHEN r.requests = r.answered AND r.answered < samples_for(99)
            THEN format('p99 needs {} requests, has {}', samples_for(99), r.answered) END
    ), '') AS note
FROM cells c
LEFT JOIN responded r ON r.run_id = c.run_id AND r.cell_id = c.cell_id
LEFT JOIN ran n ON n.run_id = c.run_id AND n.cell_id = c.cell_id
LEFT JOIN lasted l ON l.run_id = c.run_id AND l.cell_id = c.cell_id
LEFT JOIN sources s ON s.run_id = c.run_id AND s.cell_id = c.cell_id
LEFT JOIN replays p
    ON p.run_id = s.run_id AND p.source_id = s.source_id
    AND p.threshold IS NOT DISTINCT FROM s.threshold
    AND p.thresholds IS NOT DISTINCT FROM s.thresholds
LEFT JOIN accuracies a ON a.replay = p.replay
LEFT JOIN invalid_cells i ON i.run_id = c.run_id AND i.cell_id = c.cell_id
WHERE c.kind = 'serving'
ORDER BY c.run_id, c.position, c.cell_id
