"""The command line: options in, exit codes out. The only package that knows click.

Rows go to stdout, narration and progress to stderr. Exit codes: 0 done, 1 work failed, 2 usage or
bad input.
"""

from jobs.cli import models, nodes, power, report, results, runs, thresholds
from jobs.cli.base import main

__all__ = ["main", "models", "nodes", "power", "report", "results", "runs", "thresholds"]
