-- The run_id that is meant: `latest` is the newest submitted. A name that no run has is an error, and so
-- is a damaged run, of which nothing else is shown: an empty answer would look like a result. `latest`
-- of no run at all is NULL.
(SELECT CASE
    WHEN meant.status = 'damaged' THEN error(format(
        'run {} is damaged, and is left out of all answers: `gfjobs fsck {}` says what is wrong',
        meant.run_id, meant.run_id))
    WHEN meant IS NOT NULL OR run = 'latest' THEN meant.run_id
    WHEN newest IS NULL THEN error(format(
        'there is no run ''{}'': no run has been submitted here; make one with `gfjobs submit GRID`',
        coalesce(run, 'NULL')))
    ELSE error(format('there is no run ''{}''; {} List all with `gfjobs runs`',
        coalesce(run, 'NULL'),
        CASE WHEN len(near) > 0 THEN format('did you mean {}?', array_to_string(near, ', '))
            ELSE format('the newest is {}.', newest) END))
END
FROM (
    SELECT
        arg_max({'run_id': r.run_id, 'status': r.status}, (submitted, r.run_id))
            FILTER (run IN ('latest', r.run_id)) AS meant,
        arg_max(r.run_id, (submitted, r.run_id)) AS newest,
        (list(r.run_id ORDER BY jaro_winkler_similarity(r.run_id, run) DESC, r.run_id)
            FILTER (jaro_winkler_similarity(r.run_id, run) > 0.7))[:3] AS near
    -- Of a damaged run the time may not be known; NULL would sort above all.
    FROM (SELECT run_id, status, coalesce(submitted_at, '-infinity'::TIMESTAMP) AS submitted FROM runs) r
))
