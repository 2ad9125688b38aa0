-- How many times as wide an interval by Student's t is at a look after `number` rounds, one value in
-- each, than one that nobody looked at before: each look has a share of the 5 %
-- (jobs/statistics/sequential.py). NULL below three rounds. Beyond the list, the largest of up to
-- 10,000 rounds.
CASE
    WHEN number BETWEEN 3 AND 64 THEN [
        3.11, 2.97, 2.43, 1.86, 2.06, 1.73, 1.94, 1.70, 1.57, 1.49, 1.88, 1.69, 1.59, 1.53,
        1.88, 1.72, 1.63, 1.57, 1.53, 1.49, 1.47, 1.44, 1.92, 1.79, 1.71, 1.66, 1.62, 1.59,
        1.56, 1.54, 1.97, 1.85, 1.78, 1.73, 1.69, 1.66, 1.64, 1.61, 1.60, 1.58, 1.57, 1.55,
        1.54, 1.53, 1.52, 1.51, 2.05, 1.94, 1.88, 1.83, 1.80, 1.77, 1.75, 1.73, 1.71, 1.70,
        1.68, 1.67, 1.66, 1.65, 1.64, 1.63
    ][number - 2]::DOUBLE
    WHEN number > 64 THEN 3.2
END
