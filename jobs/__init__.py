"""What to run, where, in which order: grids, plans, the driver, executors and the command line."""
