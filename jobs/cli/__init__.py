"""The command line: options in, exit codes out. The only package that knows click.

Rows go to stdout, narration and progress to stderr. Exit codes: 0 done, 1 work failed, 2 usage or
bad input, 3 a regression was found.
"""

from jobs.cli import (
    comparisons,
    completion,
    models,
    nodes,
    power,
    report,
    results,
    runs,
    schedules,
    thresholds,
    upkeep,
)
from jobs.cli.base import main

__all__ = [
    "comparisons",
    "completion",
    "main",
    "models",
    "nodes",
    "power",
    "report",
    "results",
    "runs",
    "schedules",
    "thresholds",
    "upkeep",
]
