-- The thresholds of one run that were routed for real, with the latency composed for each.
SELECT *
FROM composition($run_id)
