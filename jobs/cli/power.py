"""Commands about power."""

from __future__ import annotations

from pathlib import Path

import click

from jobs.cli.base import RESULTS, main, narrate
from jobs.cli.hints import run_hints
from storage import Root


@main.group()
def power() -> None:
    """Import power that a run could not measure itself.

    \b
    Example:
      gfjobs power import meter.csv --run latest
    """


@power.command("import")
@click.argument("log", type=click.Path(path_type=Path), metavar="FILE.csv")
@click.option("--run", required=True, shell_complete=run_hints, help="The run, or latest.")
@click.option("--node", help="Node that was metered, if neither log nor run says.")
@click.option(
    "--replace",
    "is_replacing",
    is_flag=True,
    help="Drop earlier imports for the log's nodes, in the same step.",
)
@click.option(
    "--decimal",
    type=click.Choice(["point", "comma"]),
    help="Decimal mark of the watts; default: as they show.",
)
@RESULTS
def import_(
    log: Path,
    run: str,
    node: str | None,
    *,
    is_replacing: bool,
    decimal: str | None,
    results: Root,
) -> None:
    """Import a wall meter's log into a run.

    Its columns are time, watts, and node if it has several.

    A time is ISO 8601 with its zone, or seconds since 1970. Importing a log twice changes nothing;
    with --replace the new log replaces a wrong one.

    \b
    Example:
      gfjobs power import meter.csv --run latest
    """
    import storage
    from jobs.machine.power.meter_import import import_log

    run_id = storage.resolve_run(results, run)
    imported = import_log(results, run_id, log, node, is_replacing=is_replacing, decimal=decimal)
    narrate(imported.describe())
