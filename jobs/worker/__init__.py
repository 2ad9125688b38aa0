"""One task on one machine: input pipeline, timing, and the rows of each kind of cell.

`run_task` runs a task and returns every failure as an outcome. `kinds` dispatches by kind of cell
to `exits`, `latency`, `exit_costs` or `profile`, which make the rows. `shard` is the context that
all of them get; `timing` is the measurement protocol.
"""
