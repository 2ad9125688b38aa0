"""Commands that show the results of runs."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from functools import partial

import click

from jobs.cli.base import ALL, RESULTS, RUN_OR_LATEST, main, narrate, root_option, show
from jobs.common.errors import UsageError
from storage import Root

SHOWN_ROWS = 1000
_SIZE = re.compile(r"[0-9]{1,9}(\.[0-9]{1,3})?\s?[KMGT]i?B", re.IGNORECASE)
"""Most rows of a table; the other formats give all."""


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
    from jobs.report.terminal.status import status as status_of

    _show(run, results, partial(status_of, options=root_option(), is_all=is_all))


@main.command()
@RUN_OR_LATEST
@click.option("--profile", "is_profile", is_flag=True, help="Show where the time goes instead.")
@click.option("--classes", "is_by_class", is_flag=True, help="Show the accuracy by class instead.")
@ALL
@RESULTS
def summary(run: str, results: Root, *, is_profile: bool, is_by_class: bool, is_all: bool) -> None:
    """Show the ladder of RUN, and where its images exit. Default: the latest.

    For other runtimes and precisions it shows how far their answers are from torch in float32.

    --profile shows where the time of a forward pass goes, in a run with measure: [profile].
    --classes shows how each class is answered, the lowest accuracy first.

    \b
    Example:
      gfjobs summary latest
    """
    if is_profile and is_by_class:
        raise click.UsageError("--profile and --classes each show something else: give one")
    from jobs.report.terminal.agreement import agreement
    from jobs.report.terminal.classes import classes
    from jobs.report.terminal.profile import profile
    from jobs.report.terminal.summary import exit_histogram, ladder

    shown: Sequence[Callable[..., str]] = (ladder, agreement, exit_histogram)
    if is_by_class:
        shown = (classes,)
    views = [partial(view, is_all=is_all) for view in shown]
    _show(run, results, *([profile] if is_profile else views))


def _show(run: str, results: Root, *views: Callable[[Root, str], str]) -> None:
    import storage

    run_id = storage.resolve_run(results, run)
    parts = [view(results, run_id) for view in views]
    show("\n".join(part for part in parts if part))


def _memory(_context: click.Context, _option: click.Parameter, value: str | None) -> str | None:
    """Check a size as DuckDB reads it."""
    if value is not None and not _SIZE.fullmatch(value):
        raise click.BadParameter(f"{value!r}; give a number and a unit, such as 500MB or 8GB")
    return value


@main.command()
@click.argument("query")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "csv", "json", "parquet", "md"]),
    default="table",
    show_default=True,
)
@click.option(
    "--memory",
    callback=_memory,
    metavar="SIZE",
    help="Most memory of the query, such as 8GB; default: 80 % of the machine's.",
)
@RESULTS
def sql(query: str, form: str, memory: str | None, results: Root) -> None:
    """Run QUERY, in DuckDB's SQL, over the tables of all runs.

    \b
    Example:
      gfjobs sql "select model, acc1, forward_ms from ladder"
      gfjobs sql "describe records"
    """
    import storage
    from jobs.common.tables import markdown_table, result_table

    table = storage.query(results, query, memory=memory)
    if not table.num_columns:
        raise UsageError(f"{query!r} has no statement; a query is, for example, 'from ladder'")
    if form in ("table", "md"):
        shown = table.slice(0, SHOWN_ROWS) if form == "table" else table
        rows = storage.table_values(shown)
        make = result_table if form == "table" else markdown_table
        show(make(table.column_names, rows))
        if len(rows) < table.num_rows:
            narrate(f"{len(rows):,} of {table.num_rows:,} rows; --format csv gives all")
        return
    if form == "parquet" and sys.stdout.isatty():
        raise UsageError("parquet is binary; send it to a file: gfjobs sql ... > rows.parquet")
    show(storage.encode(table, form))
