-- The mean of a figure of each exit, over the images that exit there: `counts` are images by block,
-- `figures` one number per exit, the last block's last.
list_sum(list_transform(figures, lambda figure, number:
    coalesce(counts[coalesce(gates(exit_blocks, depth)[number], depth - 1)], 0) * figure))
    / list_sum(map_values(counts))
