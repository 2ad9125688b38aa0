"""Commands about power that a run could not measure itself."""

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
@click.argument("log", type=click.Path(path_type=Path), metavar="FILE")
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
@click.option(
    "--format",
    "form",
    type=click.Choice(["csv", "tegrastats"]),
    default="csv",
    show_default=True,
    help="What wrote the log: a wall meter, or tegrastats on a Jetson.",
)
@click.option("--zone", help="tegrastats: zone of its local times, such as UTC or Europe/Berlin.")
@click.option("--start", help="tegrastats without times: time of the first line, with its zone.")
@click.option(
    "--interval-ms", type=float, help="tegrastats without times: between two lines; default 1000."
)
@RESULTS
def import_(
    log: Path,
    run: str,
    node: str | None,
    *,
    is_replacing: bool,
    decimal: str | None,
    form: str,
    zone: str | None,
    start: str | None,
    interval_ms: float | None,
    results: Root,
) -> None:
    """Import the log of a wall meter, or of tegrastats, into a run.

    A meter's columns are time, watts, and node if it has several. A time is ISO 8601 with its zone,
    or seconds since 1970. A log of tegrastats also gives the rounds their temperature and clocks,
    where they have none. Importing a log twice changes nothing; with --replace the new log replaces
    a wrong one.

    \b
    Example:
      gfjobs power import meter.csv --run latest
      gfjobs power import board.log --run latest --format tegrastats --zone UTC
    """
    import storage
    from jobs.common.errors import UsageError
    from jobs.machine.power.meter_import import import_log
    from jobs.machine.power.tegrastats_times import LogTimes

    is_board = form == "tegrastats"
    if is_board and decimal:
        raise UsageError("--decimal is for a meter's log; tegrastats writes whole milliwatts")
    if not is_board and (zone or start or interval_ms is not None):
        raise UsageError("--zone, --start and --interval-ms are for --format tegrastats")
    times = LogTimes.parse(zone, start, interval_ms) if is_board else None
    run_id = storage.resolve_run(results, run)
    imported = import_log(
        results,
        run_id,
        log,
        node,
        is_replacing=is_replacing,
        decimal=decimal,
        board_times=times,
    )
    narrate(imported.describe())
