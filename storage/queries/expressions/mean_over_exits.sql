-- The mean of a figure of each exit, over the images that exit there: `counts` are images by block,
-- `figures` one number per exit, the last block's last. NULL if one of them is not known: a sum would
-- leave out the images that exit there.
CASE WHEN list_count(figures) = len(figures) THEN
    list_sum(list_transform(figures, lambda figure, number:
        coalesce(counts[coalesce(gates(exit_blocks, depth)[number], depth - 1)], 0) * figure))
        / list_sum(map_values(counts))
END
