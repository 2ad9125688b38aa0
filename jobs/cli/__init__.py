"""The command line: reads options, returns exit codes. The only package that imports click.

Rows go to stdout, messages and progress to stderr. Exit codes: 0 done, 1 work failed, 2 usage or
bad input, 3 a regression was found.
"""

from jobs.cli import (
    comparisons,
    completion,
    models,
    nodes,
    power,
    queries,
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
    "queries",
    "report",
    "results",
    "runs",
    "schedules",
    "thresholds",
    "upkeep",
]
