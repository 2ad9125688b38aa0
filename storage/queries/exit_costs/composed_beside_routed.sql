-- The thresholds of one run that were actually routed, with the composed latency of each.
SELECT *
FROM composition($run_id)
