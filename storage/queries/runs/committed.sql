-- What is committed of each cell: its shards, their images, and the seconds that workers spent on
-- them.
SELECT run_id, cell_id,
    count(*) AS shards,
    sum(rows)::BIGINT AS images,
    sum(busy_s) AS busy_s
FROM commits
GROUP BY run_id, cell_id
ORDER BY run_id, cell_id
