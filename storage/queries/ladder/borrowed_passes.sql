-- The all-exit passes that answer a sample and borrow the rest (cells.borrowed_from): each with the
-- pass of the lender that gives its answers (lender_id), in the same run, with the same model, images,
-- runtime, precision and threads. It is NULL if the lender has not answered all images, for the reason
-- given; or if the run has more answers of the same device (is_superseded), from a larger sample or of
-- all images.
WITH
passes AS (
    SELECT *, status = 'done' AS is_done FROM cells WHERE kind = 'exits'
),
-- A row for each borrower and pass of the same model and images, and one without if there is none.
pairs AS (
    SELECT b.run_id, b.cell_id, b.borrowed_from, b.is_done, b.images,
        p.cell_id AS pass_id, p.status, p.note, p.error, p.is_done AS is_pass_done,
        p.images AS pass_images, p.position AS pass_position,
        p.device IS NOT DISTINCT FROM b.device AND p.cell_id <> b.cell_id AS is_own,
        p.device IS NOT DISTINCT FROM b.borrowed_from AND p.borrowed_from IS NULL AS is_lender
    FROM passes b
    LEFT JOIN passes p ON p.run_id = b.run_id AND same_work(p, b)
    WHERE b.borrowed_from IS NOT NULL
),
found AS (
    SELECT run_id, cell_id, borrowed_from,
        coalesce(bool_or(is_own AND is_pass_done AND (NOT is_done OR pass_images > images)), false)
            AS is_superseded,
        arg_max(
            {pass_id: pass_id, status: status, is_done: is_pass_done,
                why: regexp_extract(trim(coalesce(error, note, ''), e' \n'), '[^\n;]*$')},
            (is_pass_done, pass_images, -pass_position, pass_id)
        ) FILTER (is_lender) AS lender
    FROM pairs
    GROUP BY run_id, cell_id, borrowed_from
)
SELECT run_id, cell_id, borrowed_from, is_superseded,
    CASE WHEN lender.is_done AND NOT is_superseded THEN lender.pass_id END AS lender_id,
    CASE
        WHEN is_superseded THEN 'the run has more answers of this device'
        WHEN lender IS NULL THEN format('{} has no such all-exit pass in this run', borrowed_from)
        WHEN NOT lender.is_done THEN format('{} has not answered all images (its cell is {}{})',
            borrowed_from, lender.status,
            CASE WHEN lender.why <> '' THEN ': ' || lender.why ELSE '' END)
    END AS reason
FROM found
