"""The control loop of a run: placement, tasks in flight, retries, faults, states of cells."""
