"""The command line: reads options, returns exit codes. The only package that imports click.

Rows go to stdout, messages and progress to stderr. Exit codes: 0 done, 1 work failed, 2 usage or
bad input, 3 a regression was found.
"""

from jobs.cli.shadowed import refuse_foreign_packages

refuse_foreign_packages()

from jobs.cli import (  # noqa: E402 - they import storage and gfnet
    comparisons,
    completion,
    evaluation,
    models,
    nodes,
    power,
    queries,
    report,
    results,
    runs,
    schedules,
    site,
    thresholds,
    upkeep,
)
from jobs.cli.base import main  # noqa: E402

__all__ = [
    "comparisons",
    "completion",
    "evaluation",
    "main",
    "models",
    "nodes",
    "power",
    "queries",
    "report",
    "results",
    "runs",
    "schedules",
    "site",
    "thresholds",
    "upkeep",
]
