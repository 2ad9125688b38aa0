"""The keys of a schedule, each with what it means: for its reader and for the reference."""

from __future__ import annotations

from jobs.analysis.regressions.settings import Settings

KEYS = {
    "name": "Name of the schedule, and first part of its runs' names. Default: the file's name.",
    "grid": "Path of the grid file; it is read again each night.",
    "cron": "When: minute, hour, day, month and weekday, in quotes.",
    "timezone": "Time zone of `cron`, an IANA name such as `Europe/Berlin`. Default: `UTC`.",
    "results": "The results root, a folder or `s3://bucket/prefix`. Default: the one given to"
    " `gfjobs schedule add`.",
    "address": "Address of a Ray cluster, `HOST:PORT`. Default: each night starts its own Ray.",
    "inline": "`true`: in one process, without Ray. Default: `false`.",
    "judge": "How a night is judged.",
    "report": "Folder for one page per night. Default: no page.",
    "site": "Folder for the site of all runs, made again after each night. Default: no site.",
    "notify": "The command that is run if action is needed. Default: none.",
}
REQUIRED = ("grid", "cron")

BELOW = {
    "judge": {
        "against": f"Number of earlier nights to compare with. Default: {Settings.window}.",
        "baseline": "The run that slow drifts are measured from. Default: the first night.",
        "control": "A model that never changes; its drift is divided out. Default: none.",
    },
    "notify": {
        "command": "List of a program and its arguments, run without a shell.",
        "always": "`true`: also for nights without findings. Default: `false`.",
    },
}
"""The keys of each value that is a mapping."""
