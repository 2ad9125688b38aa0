-- Same as at_thresholds.sql, at one threshold for all gates.
SELECT * EXCLUDE (thresholds), thresholds[1] AS threshold
FROM at_thresholds([t], rule := rule)
