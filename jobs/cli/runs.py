"""Commands that start, follow, list, stop and delete runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from jobs.cli.base import (
    ADDRESS,
    ALL,
    FAILED,
    INLINE,
    RESULTS,
    ROOT_AS_GIVEN,
    RUN,
    RUN_NAME,
    RUN_OR_LATEST,
    STALL,
    WAIT,
    main,
    narrate,
    program,
    root_option,
    show,
)
from storage import Root

if TYPE_CHECKING:
    from jobs.runs.submit import Ended


@main.command()
@click.argument("grid", type=click.Path(path_type=Path))
@RUN_NAME
@RESULTS
@ADDRESS
@click.option(
    "--detach", is_flag=True, help="With --address: run the driver on the cluster's head."
)
@INLINE
@WAIT
@STALL
@click.pass_context
def submit(
    context: click.Context,
    grid: Path,
    run_id: str | None,
    results: Root,
    address: str | None,
    *,
    wait_s: float,
    stall_s: float,
    detach: bool,
    inline: bool,
) -> None:
    """Run all cells of GRID, a YAML file.

    An existing run of the same name is resumed: done cells stay, what is new in GRID is added. If a
    name now resolves to something else, such as another checkpoint, the run is refused.

    \b
    Example:
      gfjobs submit examples/quickstart.yaml --run first
    """
    from jobs.common.yaml_document import Document

    document = Document.read(grid)  # a wrong path is refused at once
    narrate(f"reading {grid}")  # before torch is loaded, which takes seconds
    from jobs.runs.submit import submit_document
    from jobs.runs.target import Target

    if detach and address:  # without an address the target refuses
        from jobs.runs.detach import check_root_option

        check_root_option(context.meta[ROOT_AS_GIVEN])
    target = Target(address, inline, wait_s, stall_s, is_detached=detach)
    base = document.path.absolute().parent
    ended = submit_document(document, base, results, target, narrate, run_id=run_id)
    if ended.is_handed_over:
        narrate("you may close this terminal. Follow the run with:")
        narrate(f"  {program()} watch {ended.run_id}{root_option()}")
        return
    conclude(ended, results)


@main.command()
@RUN
@RESULTS
@ADDRESS
@INLINE
@WAIT
@STALL
def resume(
    run: str,
    results: Root,
    address: str | None,
    wait_s: float,
    *,
    stall_s: float,
    inline: bool,
) -> None:
    """Resume RUN: run what is missing.

    \b
    Example:
      gfjobs resume latest
    """
    import storage

    run_id = storage.resolve_run(results, run)
    narrate(f"reading run {run_id}")  # before torch is loaded, which takes seconds
    from jobs.runs.submit import resume as resume_run
    from jobs.runs.target import Target

    ended = resume_run(results, run_id, Target(address, inline, wait_s, stall_s), narrate)
    conclude(ended, results)


@main.command()
@RUN
@RESULTS
def cancel(run: str, results: Root) -> None:
    """Stop RUN within seconds, wherever its driver runs. It can be resumed.

    \b
    Example:
      gfjobs cancel latest
    """
    import storage
    from jobs.runs.cancel import cancel as cancel_run

    run_id = storage.resolve_run(results, run)
    cancel_run(results, run_id, narrate)
    if storage.find_run(results, run_id).status == "cancelled":
        narrate(f"resume it with:\n  {program()} resume {run_id}{root_option()}")


@main.command()
@RUN_OR_LATEST
@RESULTS
def watch(run: str, results: Root) -> None:
    """Follow RUN until it ends. Default: the latest. Exit code: 0 if it is done, else 1.

    Ctrl-C stops watching, not the run.

    \b
    Example:
      gfjobs watch latest
    """
    import storage
    from jobs.report.terminal.status import status
    from jobs.runs.watch import watch as watch_run

    run_id = storage.resolve_run(results, run)
    is_done = watch_run(results, run_id, narrate)
    narrate(status(results, run_id, options=root_option()))
    if not is_done:
        sys.exit(FAILED)


def conclude(ended: Ended, results: Root) -> None:
    """Show the results of a run, where they are stored, and what to try next.

    Exits with the code of failed work if it is not done.
    """
    import storage
    from jobs.report.terminal import agreement, load, profile, status, summary

    run_id = ended.run_id
    if ended.was_done:
        narrate(f"its figures: {program()} summary {run_id}{root_option()}")
        return

    with storage.one_moment():
        for view in (summary.ladder, agreement.agreement, summary.exit_histogram, load.load):
            if text := view(results, run_id):
                show(f"{text}\n")
    root = root_option()
    narrate(f"rows: {results}/runs/{run_id} (Parquet)")
    if not ended.is_done:
        narrate(status.status(results, run_id, options=root))
        sys.exit(FAILED)
    narrate("next, try:")
    if query := summary.next_query(results, run_id):
        narrate(f'  {program()} sql "{query}"{root}')
    narrate(f"  {program()} status {run_id}{root}")
    if profile.has_profile(results, run_id):
        narrate(f"  {program()} summary {run_id} --profile{root}")


@main.command()
@click.argument("grid", type=click.Path(path_type=Path))
@click.option(
    "--download",
    "may_download",
    is_flag=True,
    help="Download data sets that are not on this machine.",
)
@ALL
@RESULTS
def plan(grid: Path, results: Root, *, may_download: bool, is_all: bool) -> None:
    """Show the cells of GRID and how long they take. Runs nothing.

    \b
    Example:
      gfjobs plan examples/quickstart.yaml
    """
    from jobs.common.yaml_document import Document
    from jobs.plan.estimate import estimate
    from jobs.plan.plan import plan_document
    from jobs.plan.view import describe_plan

    document = Document.read(grid)
    base = document.path.absolute().parent
    made = plan_document(document, base, None, may_download=may_download)
    show(describe_plan(made, estimate(made, results), is_all=is_all))


@main.command()
@ALL
@RESULTS
def runs(results: Root, *, is_all: bool) -> None:
    """List the runs, newest first.

    \b
    Example:
      gfjobs runs
    """
    from jobs.report.terminal.status import runs as runs_of

    show(runs_of(results, is_all=is_all))


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
