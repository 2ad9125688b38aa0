"""Records of the ledger: schedules as they were added, nights, and outcomes of nights."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

State = Literal[
    "running",
    "done",
    "learning",
    "levels",
    "regression",
    "suspect",
    "failed",
    "missed",
    "empty",
    "invalid",
]


@dataclass(frozen=True)
class Entry:
    """A schedule as it was added.

    Attributes:
        text: text of its file.
        path: absolute path of its file; relative paths start from its folder.
        results: the results root, if the file names none.
        horizon: the moment up to which all due times have their nights.
    """

    name: str
    text: str
    path: str
    results: str
    horizon: datetime


@dataclass(frozen=True)
class Night:
    """One night of a schedule: for a due time, or started by hand.

    Attributes:
        run_id: its run; None if the night was missed.
        note: why it is in this state, in one line.
        text, path, results: of the schedule as it was then.
        attempts: number of times it was started.
        crashes: number of times its process ended before the night did, without being asked to.
        is_news: whether something must be done about it that was not known before.
        found: the verdict, as text.
        report: path of the report page.
        tell_at: when to try the notification next; None: there is none, or no further try.
        tells: number of tries of the notification.
        told_at: when the notification was sent.
        tell_error: why its last try failed.
    """

    night_id: int
    schedule: str
    due_at: datetime
    run_id: str | None
    state: State
    note: str | None
    text: str
    path: str
    results: str
    began_at: datetime | None
    ended_at: datetime | None
    attempts: int
    crashes: int
    is_news: bool
    found: str | None
    report: str | None
    tell_at: datetime | None
    tells: int
    told_at: datetime | None
    tell_error: str | None


@dataclass(frozen=True)
class NightOutcome:
    """How a night ended.

    Attributes:
        note, found, report, is_news: as in `Night`.
    """

    state: State
    note: str | None = None
    found: str | None = None
    report: str | None = None
    is_news: bool = False
