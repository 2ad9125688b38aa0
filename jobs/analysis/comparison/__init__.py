"""`gfjobs compare`: pairs the cells that two runs have in common and computes their differences.

`run_data` reads the runs by SQL; `compare` pairs cells; `accuracy` and `latency` compute the
figures of a pair; `comparable` checks what must be alike first; `view` formats the result.
"""
