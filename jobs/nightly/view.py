"""Formats schedules and nights as tables, with times in the schedule's zone, which they name."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from zoneinfo import ZoneInfo

import storage
from jobs.common.errors import BadInputError
from jobs.common.formatting import format_duration
from jobs.common.tables import text_table
from jobs.common.text import format_remarks
from jobs.nightly.commands import find_schedule, known_schedules
from jobs.nightly.daemon import parse_entry
from jobs.nightly.ledger import Ledger
from jobs.nightly.records import Entry, Night

_NIGHTS = 30
_MINUTES = "%Y-%m-%d %H:%M"
_UTC = ZoneInfo("UTC")


def schedules_table(ledger: Ledger, now: datetime) -> str:
    """A table of all schedules: when each is due, and the state of its last night."""
    entries = ledger.schedules()
    if not entries:
        return "no schedules; add one with `gfjobs schedule add FILE`\n"
    rows: list[tuple[str | None, ...]] = []
    notes: list[str] = []
    for entry in entries:
        last = next(iter(ledger.nights(entry.name, 1)), None)
        state = night_state(ledger, last) if last else None
        try:
            calendar = parse_entry(entry.path, entry.text, entry.results).calendar
        except BadInputError as err:
            notes.append(f"{entry.name} can no longer be read: {err}")
            due, zone = None, _UTC
        else:
            zone = calendar.zone
            due = _time(calendar.next(max(entry.horizon, now)), zone)
        rows.append((entry.name, due, zone.key, _time(last.due_at, zone) if last else None, state))
        if last:
            notes += _notes(last, zone)
    daemon = storage.lock_holder(ledger.daemon_lock)
    notes.append(
        f"the scheduler is {daemon}"
        if daemon
        else "no scheduler is running, so no night starts; start one with `gfjobs scheduler`"
    )
    table = text_table(("schedule", "next", "time zone", "last", "result"), rows)
    return f"{table}{format_remarks(notes)}"


def nights_table(ledger: Ledger, name: str, now: datetime) -> str:
    """A table of the last nights of one schedule, even a removed one, newest first."""
    nights = ledger.nights(name, _NIGHTS)
    if not nights:
        known_schedules(ledger, name)
        return f"no night of {name} yet\n"
    zone = _zone(find_schedule(ledger, name) or nights[0])
    rows = [
        (_time(night.due_at, zone), night_state(ledger, night), night.run_id, _took(night, now))
        for night in nights
    ]
    table = text_table(("due", "result", "run", "took"), rows, f"times of {zone.key}")
    return f"{table}{format_remarks(line for night in nights for line in _notes(night, zone))}"


def night_state(ledger: Ledger, night: Night) -> str:
    """A night's state in one word; `interrupted` if it is to be resumed and no process runs it."""
    if night.state == "running" and storage.lock_holder(ledger.night_lock) is None:
        return "interrupted"
    return night.state


def _took(night: Night, now: datetime) -> str | None:
    """The time from beginning to end, or until now; None if the clock was set back meanwhile."""
    if night.began_at is None:
        return None
    seconds = ((night.ended_at or now) - night.began_at).total_seconds()
    return format_duration(seconds) if seconds >= 0 else None


def _zone(told: Entry | Night) -> ZoneInfo:
    """The time zone of a schedule as it was then; UTC if this version cannot read it."""
    try:
        return parse_entry(told.path, told.text, told.results).calendar.zone
    except BadInputError:
        return _UTC


def _time(moment: datetime, zone: ZoneInfo) -> str:
    return f"{moment.astimezone(zone):{_MINUTES}}"


def _notes(night: Night, zone: ZoneInfo) -> Iterator[str]:
    about = night.run_id or f"{night.schedule} {_time(night.due_at, zone)} {zone.key}"
    if night.note:
        yield f"{about}: {night.note}"
    if night.report:
        yield f"{about}: report {night.report}"
    if night.tell_error and not night.told_at:
        given_up = "" if night.tell_at else "; given up"
        yield f"{about}: notification failed: {night.tell_error}{given_up}"
