-- A model's name, if some run has it; else an error, because an empty result would look like a
-- finding.
(SELECT CASE
    WHEN is_there THEN name
    ELSE error(format('there is no model ''{}'' in any run; {}', coalesce(name, 'NULL'),
        CASE WHEN len(known) > 0 THEN format('there are {}', array_to_string(known, ', '))
            ELSE 'no run has been submitted here; make one with `gfjobs submit GRID`' END))
END
FROM (
    SELECT coalesce(bool_or(c.model = name), false) AS is_there,
        list_sort(list(DISTINCT c.model) FILTER (c.model IS NOT NULL)) AS known
    FROM cells c
))
