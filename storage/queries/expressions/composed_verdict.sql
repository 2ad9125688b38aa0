-- Whether an error is within its tolerance, by its 95 % interval: `within` if all of the interval is,
-- `beyond` if none of it is, else `unclear`. Without an interval, an error above the tolerance is
-- beyond it, and any other is unclear.
CASE
    WHEN low_pct > tolerance_pct OR high_pct < -tolerance_pct THEN 'beyond'
    WHEN low_pct >= -tolerance_pct AND high_pct <= tolerance_pct THEN 'within'
    WHEN low_pct IS NULL AND abs(error_pct) > tolerance_pct THEN 'beyond'
    WHEN error_pct IS NOT NULL THEN 'unclear'
END
