"""What the ledger has: schedules as they were added, nights, and how one ended."""

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
        text: of its file.
        path: of its file, absolute; relative paths start from its folder.
        results: the results root, where the file names none.
        horizon: up to here all due times have their nights.
    """

    name: str
    text: str
    path: str
    results: str
    horizon: datetime


@dataclass(frozen=True)
class Night:
    """One due time of a schedule, or one that was asked for.

    Attributes:
        run_id: None where none was to be made: the night was missed.
        note: why it is in this state, in one line.
        text, path, results: of the schedule as it was then.
        attempts: how often it was begun.
        crashes: how often its process ended by itself, in mid-night.
        is_news: whether something is to be done about it that was not known before.
        found: the verdict in words.
        report: the file.
        tell_at: when to tell next; None: nobody is to be told, or no more.
        tells: how often that was tried.
        told_at: when somebody was told.
        tell_error: why that failed last.
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
        note, found, report, is_news: as of a `Night`.
    """

    state: State
    note: str | None = None
    found: str | None = None
    report: str | None = None
    is_news: bool = False
