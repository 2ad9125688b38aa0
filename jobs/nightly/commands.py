"""Implements the commands that add, remove and run schedules, and that run the daemon."""

from __future__ import annotations

import contextlib
import logging
import logging.handlers
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import storage
from jobs.common.errors import BadInputError, UsageError
from jobs.common.text import ShowText
from jobs.common.yaml_document import Document, suggest_near
from jobs.nightly import night_process
from jobs.nightly.checks import check_schedule
from jobs.nightly.daemon import Scheduler, parse_entry, run_name, utc_now
from jobs.nightly.ledger import Ledger
from jobs.nightly.lock import Lock
from jobs.nightly.night import run_night
from jobs.nightly.notify import notify_all
from jobs.nightly.records import Entry, Night
from jobs.nightly.schedule import Schedule
from jobs.runs.interrupts import Interrupts

LOG_BYTES = 1_000_000
LOGS = 5


@dataclass(frozen=True)
class Added:
    """A schedule that was added.

    Attributes:
        is_replaced: whether it replaced one of the same name.
        results: the results root of its runs.
        next_at: when it is due next, in its own time zone.
    """

    name: str
    is_replaced: bool
    results: storage.Root
    next_at: datetime


def add(ledger: Ledger, path: Path, results: storage.Root, now: datetime) -> Added:
    """Add a schedule to the ledger, or replace the one of the same name.

    The file is copied into the ledger: a change of the file has no effect until it is added again.

    Raises:
        BadInputError: problems of the schedule or of its grid; nothing was added.
        StorageError: no run can be written under the results root; nothing was added.
    """
    read = Document.read(path)
    document = Document(path.absolute(), read.text)
    schedule = check_schedule(document, results)
    before = find_schedule(ledger, schedule.name)
    horizon = now
    if before and _is_due_alike(before, schedule):
        horizon = before.horizon  # due times that were just missed must still be run
    ledger.save_schedule(Entry(schedule.name, read.text, str(document.path), str(results), horizon))
    next_at = schedule.calendar.next(now).astimezone(schedule.calendar.zone)
    return Added(schedule.name, before is not None, schedule.results, next_at)


def find_schedule(ledger: Ledger, name: str) -> Entry | None:
    """The schedule of a name; None if there is none."""
    return next((entry for entry in ledger.schedules() if entry.name == name), None)


def known_schedules(ledger: Ledger, name: str) -> Entry:
    """The schedule of a name.

    Raises:
        UsageError: there is none; the message lists the existing ones.
    """
    entry = find_schedule(ledger, name)
    if entry is None:
        names = [entry.name for entry in ledger.schedules()]
        there = f"there are: {', '.join(names)}" if names else "there is none yet"
        raise UsageError(
            f"no schedule {name!r}{suggest_near(name, names)}; {there}. Add one with"
            " `gfjobs schedule add FILE`"
        )
    return entry


def remove(ledger: Ledger, name: str) -> Night | None:
    """Remove a schedule; returns its night that is running now, if any, which is not stopped.

    Raises:
        UsageError: there is no schedule of that name.
    """
    known_schedules(ledger, name)
    ledger.remove_schedule(name)
    if storage.lock_holder(ledger.night_lock) is None:
        return None
    return next((night for night in ledger.running() if night.schedule == name), None)


def run_now(
    ledger: Ledger,
    name: str,
    narrate: ShowText,
    clock: Callable[[], datetime] = utc_now,
) -> Night:
    """Run a night of a schedule in this process, or resume one that was interrupted.

    Raises:
        UsageError: there is no such schedule, or a night of this ledger is already running.
        BadInputError: this version cannot read the schedule.
        RunInterruptedError: it was stopped; this command or the daemon can resume it.
    """
    entry = known_schedules(ledger, name)
    parse_entry(entry.path, entry.text, entry.results)
    with Lock(ledger.night_lock, night_process.REFUSAL):
        open_ = [night for night in ledger.running() if night.schedule == name]
        if open_:
            narrate(f"{open_[0].run_id} was interrupted and is resumed")
            night = ledger.begin_again(open_[0])
        else:
            now = clock()
            due_at = now.replace(microsecond=0)
            taken = ledger.due_times(name, due_at - timedelta(seconds=1))
            while due_at in taken:
                due_at += timedelta(seconds=1)
            night = ledger.begin(entry, due_at, run_name(name, due_at), now, is_asked=True)
        night = run_night(ledger, night, narrate, clock)
    notify_all(ledger, clock(), narrate, only=night.night_id)
    return ledger.night(night.night_id)


def run_daemon(ledger: Ledger, narrate: ShowText) -> None:
    """Run the daemon until a signal ends it.

    Raises:
        UsageError: another daemon uses the ledger.
    """
    with _logging(ledger.path.with_suffix(".log"), narrate) as say, Interrupts(lambda: False):
        try:
            Scheduler(ledger, night_process.start_night, night_process.end, say).run()
        except KeyboardInterrupt:
            return


def _is_due_alike(entry: Entry, schedule: Schedule) -> bool:
    try:
        return parse_entry(entry.path, entry.text, entry.results).calendar == schedule.calendar
    except BadInputError:
        return False


@contextlib.contextmanager
def _logging(path: Path, narrate: ShowText) -> Iterator[ShowText]:
    """Also write messages to a log file, which is rotated by size."""
    handler = logging.handlers.RotatingFileHandler(
        path, maxBytes=LOG_BYTES, backupCount=LOGS, delay=True
    )
    narrate(f"log: {path}")

    def say(text: str) -> None:
        line = f"{utc_now():%Y-%m-%dT%H:%M:%SZ} {text}"
        handler.emit(logging.LogRecord("nights", logging.INFO, "", 0, "%s", (line,), None))
        narrate(line)

    with contextlib.closing(handler):
        yield say
