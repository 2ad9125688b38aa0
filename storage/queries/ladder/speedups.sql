-- The ladder of a run with its speed-ups (speedups_of.sql).
FROM speedups_of([run_named(run)])
