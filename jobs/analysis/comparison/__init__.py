"""`gfjobs compare`: the cells that two runs have in common, each pair with its differences.

`run_data` reads what SQL gives of the runs; `compare` pairs cells; `accuracy` and `latency` make
the figures of a pair; `comparable` says what must be alike first; `view` shows it.
"""
