-- The run_id for a name; `latest` is the newest submitted run. A name that no run has is an error,
-- because an empty result would look like a finding; so is a damaged run, all data of which is
-- withheld. `latest` is NULL if there is no run at all.
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
    -- The time of a damaged run may be unknown; NULL would sort above all.
    FROM (SELECT run_id, status, coalesce(submitted_at, '-infinity'::TIMESTAMP) AS submitted FROM runs) r
))
