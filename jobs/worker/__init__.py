"""One task on one machine: input pipeline, timing, and the rows of each kind of cell.

`run_task` runs a task whatever happens; `kinds` chooses by kind: `exits`, `latency`, `exit_costs`
and `profile` each make the rows of one. `shard` is the context that all of them get; `timing` is
the measurement protocol.
"""
