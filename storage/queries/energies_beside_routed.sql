-- The thresholds of one run that were routed for real, with the energy composed for each.
SELECT *
FROM energy_composition($run_id)
