"""One task's work: the rows that each kind of task makes of a shard of images.

`kinds` chooses by kind: `exits`, `latency`, `exit_costs` and `profile` each make the rows of one.
`shard` is what all are given, and the warm-up of those under the clock.
"""
