-- Example images of one all-exit pass for each exit that they take at $thresholds, one per gate:
-- among the right and among the wrong predictions, the $most with the highest score (ease
-- 'easiest') and the $most with the lowest (ease 'hardest'). The score is that of the gate that let
-- them exit; the last block has no gate, so there it is max_prob. No image is in both.
-- group_images: how many images exit there with a right (or wrong) prediction.
WITH
pass AS (
    SELECT run_id, cell_id, gates(exit_blocks, depth) AS gates
    FROM cells
    WHERE run_id = $run_id AND cell_id = $cell_id
),
left_at AS (
    SELECT e.image_id, e.exit_block, e.is_correct, e.prediction, e.label,
        coalesce(e.gate_score, e.max_prob) AS score
    FROM exits e JOIN pass p USING (run_id, cell_id)
    WHERE leaves(e.gate_score, ($thresholds::FLOAT[])[list_position(p.gates, e.exit_block)])
    QUALIFY row_number() OVER (PARTITION BY e.image_id ORDER BY e.exit_block) = 1
        AND e.is_correct IS NOT NULL
),
ranked AS (
    SELECT *,
        row_number() OVER (fate ORDER BY score DESC, image_id) AS from_top,
        row_number() OVER (fate ORDER BY score, image_id DESC) AS from_bottom,
        count(*) OVER fate AS group_images
    FROM left_at
    WINDOW fate AS (PARTITION BY exit_block, is_correct)
),
classes AS (
    SELECT DISTINCT label, class_name
    FROM images
    WHERE dataset_sha256 = (
        SELECT dataset_sha256 FROM cells WHERE run_id = $run_id AND cell_id = $cell_id
    )
)
SELECT k.exit_block, k.is_correct,
    CASE WHEN k.from_top <= k.from_bottom THEN 'easiest' ELSE 'hardest' END AS ease,
    k.image_id, k.score, k.group_images,
    coalesce(l.class_name, k.label::VARCHAR) AS label_name,
    coalesce(p.class_name, k.prediction::VARCHAR) AS prediction_name
FROM ranked k
LEFT JOIN classes l ON l.label = k.label
LEFT JOIN classes p ON p.label = k.prediction
WHERE least(k.from_top, k.from_bottom) <= $most
ORDER BY k.exit_block, k.is_correct DESC, ease, least(k.from_top, k.from_bottom)
