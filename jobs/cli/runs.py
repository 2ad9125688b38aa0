"""Commands that start, list and end runs."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from jobs.cli.base import (
    ADDRESS,
    FAILED,
    INLINE,
    RESULTS,
    RUN,
    WAIT,
    main,
    narrate,
    program,
    root_option,
)
from storage import Root


@main.command()
@click.argument("grid", type=click.Path(path_type=Path))
@click.option("--run", "run_id", help="Name of the run; an unfinished one of it is resumed.")
@RESULTS
@ADDRESS
@INLINE
@WAIT
def submit(
    grid: Path,
    run_id: str | None,
    results: Root,
    address: str | None,
    wait_s: float,
    *,
    inline: bool,
) -> None:
    """Run all cells of GRID, a YAML file.

    \b
    Example:
      gfjobs submit examples/quickstart.yaml --run first
    """
    from jobs.run import Where
    from jobs.run import submit as submit_grid

    ended = submit_grid(grid, results, Where(address, inline, wait_s), narrate, run_id)
    _conclude(ended.run_id, results, is_done=ended.is_done)


@main.command()
@RUN
@RESULTS
@ADDRESS
@INLINE
@WAIT
def resume(run: str, results: Root, address: str | None, wait_s: float, *, inline: bool) -> None:
    """Run what is missing of RUN.

    \b
    Example:
      gfjobs resume latest
    """
    import storage
    from jobs.run import Where
    from jobs.run import resume as resume_run

    run_id = storage.resolve_run(results, run)
    ended = resume_run(results, run_id, Where(address, inline, wait_s), narrate)
    _conclude(run_id, results, is_done=ended.is_done)


def _conclude(run_id: str, results: Root, *, is_done: bool) -> None:
    """Show what a run gave, where it lies, and what to try next."""
    from jobs import agreement_view, profile_view, summary

    for view in (summary.ladder, agreement_view.agreement, summary.exit_histogram):
        if text := view(results, run_id):
            click.echo(text)
    root = root_option()
    narrate(f"rows: {results}/runs/{run_id} (Parquet)")
    if not is_done:
        narrate(summary.status(results, run_id))
        sys.exit(FAILED)
    narrate("next, try:")
    query = "select model, acc1, forward_ms, exit_counts from ladder"
    narrate(f'  {program()} sql "{query}"{root}')
    narrate(f"  {program()} status {run_id}{root}")
    if profile_view.has_profile(results, run_id):
        narrate(f"  {program()} summary {run_id} --profile{root}")


@main.command()
@click.argument("grid", type=click.Path(path_type=Path))
@RESULTS
def plan(grid: Path, results: Root) -> None:
    """Show the cells that GRID folds into, and how long they will take. Runs nothing.

    \b
    Example:
      gfjobs plan examples/quickstart.yaml
    """
    from jobs.document import Document
    from jobs.estimate import estimate
    from jobs.plan_view import describe
    from jobs.run import plan_document

    document = Document.read(grid)
    made = plan_document(document, document.path.absolute().parent, None)
    click.echo(describe(made, estimate(made, results)), nl=False)


@main.command()
@RESULTS
def runs(results: Root) -> None:
    """List the runs, newest first.

    \b
    Example:
      gfjobs runs
    """
    from jobs.summary import runs as runs_of

    click.echo(runs_of(results), nl=False)


@main.command()
@RUN
@RESULTS
def rm(run: str, results: Root) -> None:
    """Delete RUN and its rows.

    \b
    Example:
      gfjobs rm latest
    """
    import storage

    run_id = storage.resolve_run(results, run)
    storage.remove_run(results, run_id)
    narrate(f"removed {run_id}")
