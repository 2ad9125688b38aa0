"""What will run: cells folded from the grid, tasks, ABBA order, sources of bytes, estimate."""
