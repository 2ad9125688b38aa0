"""Commands that maintain a results root."""

from __future__ import annotations

import sys

import click

from jobs.cli.base import FAILED, RESULTS, main, narrate, show
from jobs.cli.hints import run_hints
from storage import Root


@main.command()
@click.option("--dry-run", "is_dry", is_flag=True, help="Show what would be done, change nothing.")
@RESULTS
def compact(results: Root, *, is_dry: bool) -> None:
    """Merge the small files of finished runs. Queries over a year become fast.

    The rows of images stay in their runs: compacted runs are resumed and removed like others. What
    is already compacted takes no time, so this can follow each night's run.

    \b
    Example:
      gfjobs compact
    """
    import storage
    from jobs.report.terminal.maintenance import describe_compaction, show_slowly

    report = storage.compact(results, show_slowly(narrate), is_dry=is_dry)
    show(f"{describe_compaction(report, is_dry)}\n")


@main.command()
@click.argument("runs", nargs=-1, metavar="[RUN]...", shell_complete=run_hints)
@click.option(
    "--repair",
    "is_repair",
    is_flag=True,
    help="Repair what can still be repaired.",
)
@RESULTS
def fsck(runs: tuple[str, ...], results: Root, *, is_repair: bool) -> None:
    """Check that the files of RUNs are whole and agree. Default: all runs.

    --repair drops damaged data, so that `gfjobs resume` runs only that again; rebuilds summaries;
    removes files that nothing refers to; restores a damaged run.parquet or cells.parquet from the
    history, or rebuilds it from the run's grid. Runs being written are skipped.

    \b
    Example:
      gfjobs fsck
      gfjobs fsck latest --repair
    """
    import storage
    from jobs.report.terminal.maintenance import describe_check, show_slowly
    from jobs.runs.rebuild import rebuild_plan

    run_ids = [storage.resolve_run(results, run) for run in runs] if runs else None
    tell = show_slowly(narrate)
    problems = storage.fsck(results, run_ids, tell, rebuild_plan, is_repair=is_repair)
    show(describe_check(problems))
    if not all(problem.is_repaired for problem in problems):
        sys.exit(FAILED)
