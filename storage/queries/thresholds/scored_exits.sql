-- The rows of `exits` with the score of an exit rule as gate_score: 'gate', 'max_prob', 'margin',
-- 'entropy' (1 - entropy / log K, of K classes) or 'patience' (how many exits in a row, up to this
-- one, have the same prediction); NULL: the rule of each pass, which is the gate unless its grid
-- chose another. A larger score is surer under each. Float32, as the router computes them; NULL at
-- the last block, and nowhere else; NaN where logits are not finite. A cell of an earlier version
-- does not say K: it has no rows under 'entropy'. dataset_sha256 is in `cells`.
WITH
-- Filters on a rule that is written out are decided before a row is read: of these parts, one runs.
early AS (
    SELECT e.* EXCLUDE (dataset_sha256), e.exit_block < c.depth - 1 AS is_early, c.num_classes
    FROM exits e JOIN cells c ON c.run_id = e.run_id AND c.cell_id = e.cell_id
),
agreeing AS (
    SELECT *, sum(is_new::INTEGER) OVER (
        PARTITION BY run_id, cell_id, image_id ORDER BY exit_block) AS streak
    FROM (
        SELECT *, prediction IS DISTINCT FROM lag(prediction) OVER (
            PARTITION BY run_id, cell_id, image_id ORDER BY exit_block) AS is_new
        FROM early
    )
)
SELECT e.* EXCLUDE (dataset_sha256) FROM exits e WHERE rule IS NULL
UNION ALL BY NAME
SELECT e.* EXCLUDE (dataset_sha256)
FROM exits e JOIN cells c ON c.run_id = e.run_id AND c.cell_id = e.cell_id
WHERE rule = 'gate' AND coalesce(c.exit_rule, 'gate') = 'gate'
UNION ALL BY NAME
SELECT * EXCLUDE (is_early, num_classes) REPLACE (
    CASE WHEN is_early THEN
        CASE rule WHEN 'max_prob' THEN max_prob WHEN 'margin' THEN margin
            ELSE 1::FLOAT - entropy * (1 / ln(num_classes))::FLOAT END
    END AS gate_score)
FROM early
WHERE rule IN ('max_prob', 'margin', 'entropy') AND (rule != 'entropy' OR num_classes IS NOT NULL)
UNION ALL BY NAME
SELECT * EXCLUDE (is_early, num_classes, is_new, streak) REPLACE (
    CASE WHEN prediction IS NULL AND is_early THEN 'nan'::FLOAT WHEN is_early THEN
        row_number() OVER (
            PARTITION BY run_id, cell_id, image_id, streak ORDER BY exit_block)::FLOAT
    END AS gate_score)
FROM agreeing
WHERE rule = 'patience'
UNION ALL BY NAME
SELECT e.* EXCLUDE (dataset_sha256)
FROM exits e
WHERE CASE WHEN coalesce(rule, 'gate') IN ('gate', 'max_prob', 'margin', 'entropy', 'patience')
    THEN false
    ELSE error(format('there is no exit rule ''{}'': give gate, max_prob, margin, entropy or'
        || ' patience', rule)) END
