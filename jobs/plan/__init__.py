"""Plans what runs: cells folded from the grid, tasks, ABBA order, sources of bytes, estimate."""
