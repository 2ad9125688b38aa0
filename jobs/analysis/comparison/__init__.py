"""The statistics of comparing two measurements of the same images: numpy alone, no I/O.

`mcnemar`: accuracy; `log_ratio`: latency and energy; `holm`: many comparisons at once;
`comparable`: what must be alike first.
"""
