-- The rounds that the default figures leave out. is_throttled NULL means that throttling was not
-- checked: such rounds count.
SELECT run_id, cell_id, round FROM rounds WHERE is_throttled
UNION
SELECT run_id, cell_id, round FROM records WHERE is_throttled
