"""What serving cells show: responses as measured, as simulated from exit costs, and within a limit.

`service_times`: how long an image takes at an exit; `simulation`: a queue of such images; `served`:
the measured cells with their simulation; `limit`: `gfjobs choose --max-p99-ms`; `left_out`: the
models that it cannot compare.
"""
