-- How many of a cell's timed rounds its energy is of, where that is not all.
CASE WHEN own < timed THEN format('energy from {} of {} rounds', own, timed) END
