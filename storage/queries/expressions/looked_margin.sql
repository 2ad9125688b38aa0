-- How many times as wide an interval by Student's t over `counted` values must be whose rounds ended,
-- after `number` of them, because figures were known (look_factor.sql). NULL below three rounds or
-- values; 1 if the number of rounds was planned.
--
-- Fewer values than rounds, since some were throttled or have no power, have fewer degrees of freedom:
-- the quantile of the look's share grows more than that of 5 %. It comes from the normal quantile that
-- belongs to both (Wallace 1959, Annals of Mathematical Statistics 30, 1121-1130): at most 3 % above
-- the exact one if four fifths of the rounds have values, further above if fewer have, never below.
CASE
    WHEN NOT is_looked_at THEN 1
    WHEN counted >= number THEN look_factor(number)
    WHEN counted >= 3 THEN sqrt((counted - 1) * (exp(
        (number - 1) * ln(1 + (look_factor(number) * student_t(number)) ** 2 / (number - 1))
            * ((8 * number - 7) / (8 * number - 5) * (8 * counted - 5) / (8 * counted - 7)) ** 2
            / (counted - 1)
    ) - 1)) / student_t(counted)
END
