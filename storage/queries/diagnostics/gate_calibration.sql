-- Does a higher gate score mean that the exit is right more often? For each all-exit pass of one
-- run and each gate: its images in ten parts by score, of equal size (ties may be cut), so that it
-- works for scores of any scale; per part, the mean score and how often the exit is right. If a
-- gate's score is a calibrated probability, acc1 is 100 times the mean score. NaN scores are left
-- out.
WITH
parts AS (
    SELECT run_id, cell_id, exit_block, gate_score, is_correct,
        ntile(10) OVER (
            PARTITION BY run_id, cell_id, exit_block ORDER BY gate_score, image_id
        ) AS part
    FROM exits
    WHERE run_id = $run_id AND gate_score IS NOT NULL AND NOT isnan(gate_score)
        AND is_correct IS NOT NULL
),
means AS (
    SELECT run_id, cell_id, exit_block, part, count(*) AS images,
        avg(gate_score) AS gate_score,
        100 * avg(is_correct::INTEGER) AS acc1
    FROM parts
    GROUP BY run_id, cell_id, exit_block, part
)
SELECT c.* EXCLUDE (position), m.* EXCLUDE (run_id, cell_id), a.gate_auroc
FROM exit_cells($run_id) c
JOIN means m ON m.run_id = c.run_id AND m.cell_id = c.cell_id
LEFT JOIN gate_auroc($run_id) a
    ON a.run_id = m.run_id AND a.cell_id = m.cell_id AND a.exit_block = m.exit_block
ORDER BY c.position, c.cell_id, m.exit_block, m.part
