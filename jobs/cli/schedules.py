"""Commands about nights: schedules, and the daemon that runs them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from jobs.cli.base import FAILED, REGRESSION, RESULTS, main, narrate, program, show
from jobs.cli.hints import schedule_hints
from jobs.common.errors import RunInterruptedError
from storage import Root

if TYPE_CHECKING:
    from jobs.nightly.ledger import Ledger


def _opened(context: click.Context, _option: click.Parameter, value: Path | None) -> Ledger | Path:
    from jobs.nightly.ledger import Ledger, default_path

    path = value or default_path()
    if context.resilient_parsing:  # completion creates no ledger
        return path
    ledger = Ledger(path)
    context.call_on_close(ledger.close)
    return ledger


LEDGER = click.option(
    "--ledger",
    callback=_opened,
    envvar="GFJOBS_LEDGER",
    type=click.Path(path_type=Path),
    show_default="~/.local/state/gfjobs/nights.sqlite, or $GFJOBS_LEDGER",
    help="The file of schedules and nights.",
)


@main.group()
def schedule() -> None:
    """Add, list, remove or run nightly schedules. `gfjobs scheduler` runs them.

    \b
    Example:
      gfjobs schedule add examples/nightly.yaml
      gfjobs schedule list
    """


@schedule.command()
@click.argument("file", type=click.Path(path_type=Path))
@RESULTS
@LEDGER
def add(file: Path, results: Root, ledger: Ledger) -> None:
    """Add the schedule in FILE, or replace the one of the same name.

    FILE, its grid and the results root are checked first. The ledger keeps a copy of FILE: add it
    again after a change. The grid is read again each night.

    \b
    Example:
      gfjobs schedule add examples/nightly.yaml
    """
    from jobs.nightly.commands import add as add_schedule
    from jobs.nightly.daemon import utc_now

    added = add_schedule(ledger, file, results, utc_now())
    verb = "replaced" if added.is_replaced else "added"
    narrate(f"{verb} {added.name}; next: {added.next_at:%Y-%m-%d %H:%M %Z}")
    narrate(f"results: {added.results}")
    narrate("to try it now:")
    narrate(f"  {program()} schedule run {added.name}")


@schedule.command("list")
@click.argument("name", required=False, shell_complete=schedule_hints)
@LEDGER
def list_(name: str | None, ledger: Ledger) -> None:
    """List all schedules, with due times and last results. With NAME, its last nights.

    \b
    Example:
      gfjobs schedule list
      gfjobs schedule list nightly
    """
    from jobs.nightly.daemon import utc_now
    from jobs.nightly.view import nights_table, schedules_table

    now = utc_now()
    show(nights_table(ledger, name, now) if name else schedules_table(ledger, now))


@schedule.command()
@click.argument("name", shell_complete=schedule_hints)
@LEDGER
def remove(name: str, ledger: Ledger) -> None:
    """Remove the schedule NAME. Its nights and their runs are kept.

    \b
    Example:
      gfjobs schedule remove nightly
    """
    from jobs.nightly.commands import remove as remove_schedule
    from jobs.nightly.daemon import root_of

    running = remove_schedule(ledger, name)
    narrate(f"removed {name}")
    if running:
        narrate(f"its night {running.run_id} is still running; to stop it:")
        narrate(f"  {program()} cancel {running.run_id} --results {root_of(running)}")


@schedule.command()
@click.argument("name", shell_complete=schedule_hints)
@LEDGER
def run(name: str, ledger: Ledger) -> None:
    """Run a night of NAME now: run, judge, report, notify.

    The exit code is 0 if nothing new was found (done, levels, learning, or a known regression), 3
    if a new regression was found, 1 otherwise. An interrupted night is resumed. If another night is
    running, this is refused.

    \b
    Example:
      gfjobs schedule run nightly
    """
    from jobs.nightly.commands import run_now
    from jobs.nightly.outcomes import QUIET

    try:
        night = run_now(ledger, name, narrate)
    except RunInterruptedError as err:
        narrate(f"{err.run_id} was interrupted; committed rows are kept. Resume it with:")
        narrate(f"  {program()} schedule run {name}")
        sys.exit(FAILED)
    if night.found:
        show(night.found)
    narrate(f"{night.run_id}: {night.state}" + (f": {night.note}" if night.note else ""))
    if night.report:
        narrate(f"report: {night.report}")
    if night.state == "regression" and night.is_news:
        sys.exit(REGRESSION)
    if night.state not in (*QUIET, "regression"):
        sys.exit(FAILED)


@main.command()
@LEDGER
def scheduler(ledger: Ledger) -> None:
    """Run the schedules when they are due, until a signal stops it.

    Nights run one after another. A schedule that was due while no scheduler ran is run once. An
    interrupted night is resumed, even after kill -9 or a reboot. A second scheduler on the same
    ledger is refused.

    \b
    Example:
      gfjobs scheduler
    """
    from jobs.nightly.commands import run_daemon

    run_daemon(ledger, narrate)
