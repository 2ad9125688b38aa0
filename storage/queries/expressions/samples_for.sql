-- How many samples a percentile needs, by the bound of MLPerf's LoadGen at 99 % confidence.
CASE percentile WHEN 50 THEN 11 WHEN 90 THEN 64 WHEN 99 THEN 662 END
