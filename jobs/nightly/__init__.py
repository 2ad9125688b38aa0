"""Nights: schedules, the ledger of what came of them, and the daemon that runs them.

`schedule` reads a file, `cron` says when it is due, `ledger` remembers, `night` runs one, `notify`
tells, `scheduler` is the loop, `service` what the commands do.
"""
