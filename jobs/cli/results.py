"""Commands that show the results of runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import click

from jobs.cli.base import ALL, RESULTS, RUN_OR_LATEST, main, root_option, show
from jobs.cli.unfinished import resolve_results
from storage import Root


@main.command()
@RUN_OR_LATEST
@ALL
@RESULTS
def status(run: str, results: Root, *, is_all: bool) -> None:
    """Show the cells of RUN: what is done, what failed and why. Default: the latest.

    \b
    Example:
      gfjobs status latest
    """
    import storage
    from jobs.report.terminal.status import status as status_of

    run_id = storage.resolve_run(results, run)
    with storage.one_moment():
        show(status_of(results, run_id, options=root_option(), is_all=is_all))


@main.command()
@RUN_OR_LATEST
@click.option("--profile", "is_profile", is_flag=True, help="Show where the time goes instead.")
@click.option("--classes", "is_by_class", is_flag=True, help="Show the accuracy by class instead.")
@click.option("--load", "is_load", is_flag=True, help="Show throughput and responses instead.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "csv", "json"]),
    default="table",
    show_default=True,
    help="Of --load.",
)
@ALL
@RESULTS
def summary(
    run: str,
    results: Root,
    *,
    is_profile: bool,
    is_by_class: bool,
    is_load: bool,
    form: str,
    is_all: bool,
) -> None:
    """Show the ladder of RUN, and where its images exit. Default: the latest.

    For other runtimes and precisions it shows how far their answers are from torch in float32.

    --profile shows where the time of a forward pass goes, in a run with measure: [profile].
    --classes shows how each class is answered, the lowest accuracy first.
    --load shows images per second, and responses to requests as measured and simulated.

    \b
    Example:
      gfjobs summary latest
    """
    if is_profile + is_by_class + is_load > 1:
        raise click.UsageError("--profile, --classes and --load each show something else: give one")
    if form != "table" and not is_load:
        raise click.UsageError("--format is of --load; gfjobs sql has the ladder in other formats")
    from jobs.report.terminal.agreement import agreement
    from jobs.report.terminal.classes import classes
    from jobs.report.terminal.load import encode_load, load, load_alone
    from jobs.report.terminal.profile import profile
    from jobs.report.terminal.summary import exit_histogram, ladder

    if is_load and form != "table":
        (run_id,) = resolve_results(results, run)
        show(encode_load(results, run_id, form))
        return
    shown: Sequence[Callable[..., str]] = (ladder, agreement, exit_histogram, load)
    if is_load:
        shown = (load_alone,)
    if is_by_class:
        shown = (classes,)
    views = [partial(view, is_all=is_all) for view in shown]
    _show(run, results, *([profile] if is_profile else views))


def _show(run: str, results: Root, *views: Callable[[Root, str], str]) -> None:
    import storage

    (run_id,) = resolve_results(results, run)
    with storage.one_moment():
        parts = [view(results, run_id) for view in views]
    show("\n".join(part for part in parts if part))
