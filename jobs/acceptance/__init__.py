"""Acceptance of an installation: checks on this machine's GPU, each with what is expected.

`bench` is what the checks share, `check_result` what each returns. `answers`, `skipping`,
`compiled`, `clock`, `out_of_memory`, `nvml_readings`, `others` and `small_grid` are the checks;
`errors` measures answers for the first; `accept` runs all within their time, with
`machine_facts`, and `view` shows and saves the results.
"""
