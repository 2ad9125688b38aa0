-- The timed cells whose times are not to be believed, and why: what cells.is_valid says, decided when
-- a cell ends, and what its rounds show (conditions.sql). Figures of others are not made of them.
SELECT c.run_id, c.cell_id,
    concat_ws('; ',
        c.note,
        regexp_extract(trim(c.error, e' \n'), '[^\n]*$'),  -- the last line of a traceback
        string_agg(o.note, '; ' ORDER BY o.node) FILTER (NOT o.is_steady)
    ) AS note
FROM cells c
LEFT JOIN conditions o ON o.run_id = c.run_id AND o.cell_id = c.cell_id
WHERE c.kind IN ('latency', 'exit_costs', 'profile')
GROUP BY c.run_id, c.cell_id, c.is_valid, c.note, c.error
HAVING c.is_valid IS FALSE OR bool_or(NOT o.is_steady)
