-- The rounds that leave the default figures. is_throttled NULL means that nobody looked: such rounds
-- count.
SELECT run_id, cell_id, round FROM rounds WHERE is_throttled
UNION
SELECT run_id, cell_id, round FROM records WHERE is_throttled
