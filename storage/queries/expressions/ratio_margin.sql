-- Half a 95 % interval of the mean of `logs`: the logarithm of a ratio, one per round, by Student's t
-- over the rounds. NULL below two rounds, or if they do not vary.
CASE WHEN list_stddev_samp(logs) > 1e-12
    THEN student_t(len(logs)) * list_stddev_samp(logs) / sqrt(len(logs))
END
