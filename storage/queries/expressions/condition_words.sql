-- The states in which a cell was timed, and the others of its run; NULL if all were the same.
CASE WHEN len(own) > 0 AND len(list_filter(everyone, lambda x: NOT list_contains(own, x))) > 0
    THEN format('conditions: {} {} here, {} elsewhere in this run', what,
        array_to_string(own, ' / '),
        array_to_string(list_sort(list_distinct(
            list_filter(everyone, lambda x: NOT list_contains(own, x)))), ' / '))
END
