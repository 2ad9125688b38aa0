-- The run_id that is meant: `latest` is the newest submitted.
CASE WHEN run = 'latest'
    THEN (SELECT arg_max(newest.run_id, (newest.submitted_at, newest.run_id)) FROM runs newest)
    ELSE run
END
