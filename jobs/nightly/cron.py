"""Computes when a schedule is due: a cron expression in a time zone gives moments in UTC.

Days on which the clocks change follow Debian's cron, as cronsim does: a time that does not exist is
due right after the clocks go forward, and one that exists twice is due the first time. Expressions
whose minute or hour begins with a star follow real time instead.
"""

from __future__ import annotations

import zoneinfo
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone

from cronsim import CronSim, CronSimError

from jobs.common.yaml_document import Value, suggest_near

FIELDS = 5
"""Six fields would include seconds, and have no rule for days on which the clocks change."""

KEPT = 1000
"""Newest missed moments to record; one per minute makes 525,600 a year."""

_ALLOWED = (
    "minute hour day month weekday, such as `30 2 * * *` or `0 22 * * mon-fri`;"
    " minutes 0-59, hours 0-23, days 1-31 or L, months 1-12 or jan-dec, weekdays 0-7 or sun-sat"
)


@dataclass(frozen=True)
class Missed:
    """Due times that have passed.

    Attributes:
        newest: the last ones, oldest first, in UTC.
        older: number of due times before them.
    """

    newest: tuple[datetime, ...]
    older: int


@dataclass(frozen=True)
class Calendar:
    """A cron expression and the time zone of its hours."""

    cron: str
    zone: zoneinfo.ZoneInfo

    def after(self, moment: datetime) -> Iterator[datetime]:
        """All due times after a moment, in UTC; ends if 50 years have no match."""
        utc = moment.astimezone(timezone.utc)
        for local in CronSim(self.cron, utc.astimezone(self.zone)):
            due = local.astimezone(timezone.utc)
            # From within the second of two equal hours, cronsim gives the first, which is over.
            if due > utc:
                yield due

    def next(self, moment: datetime) -> datetime:
        """The first due time after a moment."""
        return next(self.after(moment))

    def between(self, since: datetime, until: datetime) -> Missed:
        """The due times after `since`, up to and including `until`."""
        newest: deque[datetime] = deque(maxlen=KEPT)
        count = 0
        for due in self.after(since):
            if due > until:
                break
            newest.append(due)
            count += 1
        return Missed(tuple(newest), count - len(newest))


def read_calendar(cron: Value | None, zone: Value | None) -> Calendar:
    """Read both keys; records problems, such as a missing expression, in the document."""
    expression = " ".join(cron.text().split()) if cron else ""
    if cron and expression and (why := _why_not(expression)):
        cron.problem(f"{expression!r} is not a cron expression: {why}", _ALLOWED)
    return Calendar(expression, _read_zone(zone))


def _why_not(expression: str) -> str:
    """What is wrong with an expression; empty if nothing is."""
    if (count := len(expression.split())) != FIELDS:
        short = "; short names are written out, @daily as `0 0 * * *`"
        return (
            f"{count} field{'' if count == 1 else 's'} instead of {FIELDS}"
            f"{short if expression.startswith('@') else ''}"
        )
    if not expression.isascii():
        return "it has characters that are not ASCII"
    try:
        next(CronSim(expression, datetime(2000, 1, 1, tzinfo=timezone.utc)))
    except CronSimError as err:
        return str(err)[:1].lower() + str(err)[1:]
    except StopIteration:
        return "no date matches it"
    except (AssertionError, ValueError):  # cronsim raises these for parts such as L-3
        return "not understood"
    return ""


def _read_zone(value: Value | None) -> zoneinfo.ZoneInfo:
    if value is None:
        return zoneinfo.ZoneInfo("UTC")
    known = zoneinfo.available_timezones()
    name = value.text()
    if name in known:
        return zoneinfo.ZoneInfo(name)
    if name:
        allowed = "a name of the IANA time zones, such as Europe/Berlin, America/New_York or UTC"
        value.problem(f"unknown time zone {name!r}{suggest_near(name, sorted(known))}", allowed)
    return zoneinfo.ZoneInfo("UTC")
