-- The timed cells with unreliable times, and why: from cells.is_valid, decided when a cell ends,
-- and from the conditions of its rounds (conditions.sql). No other figures are computed from these
-- cells.
SELECT c.run_id, c.cell_id,
    concat_ws('; ',
        c.note,
        regexp_extract(trim(c.error, e' \n'), '[^\n]*$'),  -- the last line of a traceback
        string_agg(o.note, '; ' ORDER BY o.node) FILTER (NOT o.is_steady)
    ) AS note
FROM cells c
LEFT JOIN conditions o ON o.run_id = c.run_id AND o.cell_id = c.cell_id
WHERE c.kind IN ('latency', 'exit_costs', 'profile', 'throughput', 'serving')
GROUP BY c.run_id, c.cell_id, c.is_valid, c.note, c.error
HAVING c.is_valid IS FALSE OR bool_or(NOT o.is_steady)
