-- From how many of a cell's timed rounds its energy comes; NULL if from all.
CASE WHEN own < timed THEN format('energy from {} of {} rounds', own, timed) END
