"""Nightly runs: schedules, the ledger of their nights, and the daemon that runs them.

`schedule` reads a schedule file, `checks` checks what it names, `cron` computes when it is due,
`ledger` stores schedules and nights, `night` runs one night, `notify` sends notifications, `daemon`
is the loop, and `commands` implements the commands.
"""
