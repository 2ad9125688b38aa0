"""Commands that show what runs gave."""

from __future__ import annotations

import sys
from collections.abc import Callable

import click

from jobs.cli.base import RESULTS, RUN_OR_LATEST, main, narrate
from jobs.errors import UsageError
from storage import Root

SHOWN_ROWS = 1000
"""Rows that a table for people shows; the other formats give all."""


@main.command()
@RUN_OR_LATEST
@RESULTS
def status(run: str, results: Root) -> None:
    """Show the cells of RUN (default: the latest): what is done, what failed and why.

    \b
    Example:
      gfjobs status latest
    """
    from jobs.summary import status as status_of

    _show(run, results, status_of)


@main.command()
@RUN_OR_LATEST
@click.option("--profile", "is_profile", is_flag=True, help="Show where the time goes instead.")
@RESULTS
def summary(run: str, results: Root, *, is_profile: bool) -> None:
    """Show the ladder of RUN (default: the latest), and where its images exit.

    Of runtimes and precisions beside torch in float32 it shows how far their answers are from it.

    --profile shows where the time of a forward pass goes, of a run with measure: [profile].

    \b
    Example:
      gfjobs summary latest
    """
    from jobs.agreement_view import agreement
    from jobs.profile_view import profile
    from jobs.summary import exit_histogram, ladder

    _show(run, results, *([profile] if is_profile else [ladder, agreement, exit_histogram]))


def _show(run: str, results: Root, *views: Callable[[Root, str], str]) -> None:
    import storage

    run_id = storage.resolve_run(results, run)
    parts = [view(results, run_id) for view in views]
    click.echo("\n".join(part for part in parts if part), nl=False)


@main.command()
@click.argument("query")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "csv", "json", "parquet", "md"]),
    default="table",
    show_default=True,
)
@RESULTS
def sql(query: str, form: str, results: Root) -> None:
    """Answer QUERY, in DuckDB's SQL, over the tables of all runs.

    \b
    Example:
      gfjobs sql "select model, acc1, forward_ms from ladder"
      gfjobs sql "describe records"
    """
    import storage
    from jobs.tables import markdown_table, result_table

    table = storage.query(results, query)
    if form in ("table", "md"):
        shown = table.slice(0, SHOWN_ROWS) if form == "table" else table
        rows = storage.table_values(shown)
        make = result_table if form == "table" else markdown_table
        click.echo(make(table.column_names, rows), nl=False)
        if len(rows) < table.num_rows:
            narrate(f"{len(rows):,} of {table.num_rows:,} rows; --format csv gives all")
        return
    if form == "parquet" and sys.stdout.isatty():
        raise UsageError("parquet is binary; send it to a file: gfjobs sql ... > rows.parquet")
    click.echo(storage.encode(table, form), nl=False)
