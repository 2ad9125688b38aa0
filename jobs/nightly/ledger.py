"""The ledger: one SQLite file with all schedules and the outcomes of their nights.

Each change of a night is one transaction, on disk before the next step begins. A due time has at
most one night, whichever process writes. Times are UTC, as text that sorts.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from jobs.common.state_folder import state_folder
from jobs.nightly.database import Database
from jobs.nightly.records import Entry, Night, NightOutcome

MAX_TEXT = 20_000
"""Most characters to store of a night's findings."""


def default_path() -> Path:
    """The path of this user's ledger: below $XDG_STATE_HOME, else ~/.local/state."""
    return state_folder() / "nights.sqlite"


class Ledger:
    """An open ledger, created if there is none.

    Args:
        path: path of the file.

    Raises:
        UsageError: it cannot be created or read, is damaged, of another program, or of a later
            version. All methods raise this too if it shows later.
    """

    def __init__(self, path: Path) -> None:
        self._database = Database(path)
        self.path = self._database.path

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    @property
    def daemon_lock(self) -> Path:
        """The lock that the daemon holds."""
        return self.path.with_name(f"{self.path.name}.daemon")

    @property
    def night_lock(self) -> Path:
        """The lock that a running night's process holds: two at once would disturb their timing."""
        return self.path.with_name(f"{self.path.name}.night")

    def log_of(self, night: Night) -> Path:
        """The log file of a night's processes."""
        return self.path.parent / "logs" / f"{night.run_id or night.schedule}.log"

    def schedules(self) -> tuple[Entry, ...]:
        """All schedules, by name."""
        return tuple(map(_entry, self._database.rows("SELECT * FROM schedules ORDER BY name")))

    def save_schedule(self, entry: Entry) -> None:
        """Add a schedule, or replace the one of the same name."""
        with self._database.transaction():
            self._database.run(
                "INSERT OR REPLACE INTO schedules (name, text, path, results, horizon)"
                " VALUES (?, ?, ?, ?, ?)",
                entry.name,
                entry.text,
                entry.path,
                entry.results,
                _told(entry.horizon),
            )

    def remove_schedule(self, name: str) -> bool:
        """Remove a schedule but not its nights; returns whether there was one."""
        with self._database.transaction():
            return self._database.run("DELETE FROM schedules WHERE name = ?", name).rowcount > 0

    def heed_clock(self, now: datetime) -> bool:
        """After the clock was set back: due times that are now in the future are due again.

        Nights that ran are kept, and do not run again at the same due time.

        Returns: whether any schedule was affected.
        """
        later = self._database.rows("SELECT name FROM schedules WHERE horizon > ?", _told(now))
        if not later:
            return False
        with self._database.transaction():
            self._database.run(
                "UPDATE schedules SET horizon = ? WHERE horizon > ?", _told(now), _told(now)
            )
            self._database.run(
                "DELETE FROM nights WHERE state = 'missed' AND due_at > ?", _told(now)
            )
        return True

    def nights(self, schedule: str | None = None, newest: int = -1) -> tuple[Night, ...]:
        """The nights of one schedule or of all, last begun first, whatever the clock said then."""
        return self._nights(
            "SELECT * FROM nights WHERE coalesce(?, schedule) = schedule"
            " ORDER BY night_id DESC LIMIT ?",
            schedule,
            newest,
        )

    def night(self, night_id: int) -> Night:
        """The night with an id."""
        (found,) = self._nights("SELECT * FROM nights WHERE night_id = ?", night_id)
        return found

    def running(self) -> tuple[Night, ...]:
        """Nights that have begun and not ended, oldest first; their processes may be gone."""
        return self._nights("SELECT * FROM nights WHERE state = 'running' ORDER BY night_id")

    def due_times(self, schedule: str, since: datetime) -> frozenset[datetime]:
        """Due times after a moment that have a night."""
        rows = self._database.rows(
            "SELECT due_at FROM nights WHERE schedule = ? AND due_at > ?", schedule, _told(since)
        )
        return frozenset(datetime.fromisoformat(row["due_at"]) for row in rows)

    def begin(
        self,
        entry: Entry,
        due_at: datetime,
        run_id: str,
        now: datetime,
        missed: Sequence[datetime] = (),
        *,
        note: str | None = None,
        is_asked: bool = False,
        is_to_tell: bool = False,
    ) -> Night:
        """Begin a night, and record the nights missed before it, in one transaction.

        Args:
            entry: its schedule.
            due_at: when it was due.
            run_id: the name of its run.
            now: the time of day.
            missed: due times of this schedule that will not be run.
            note: note of the last missed night.
            is_asked: whether it was started by hand: due times stay as they are.
            is_to_tell: whether to send one notification for all missed nights.
        """
        with self._database.transaction():
            of_schedule = (entry.text, entry.path, entry.results)
            for moment in missed:
                is_last = moment == missed[-1]
                self._database.run(
                    "INSERT OR IGNORE INTO nights"
                    " (schedule, due_at, state, text, path, results, ended_at, note, tell_at)"
                    " VALUES (?, ?, 'missed', ?, ?, ?, ?, ?, ?)",
                    entry.name,
                    _told(moment),
                    *of_schedule,
                    _told(now),
                    note if is_last else None,
                    _told(now) if is_last and is_to_tell else None,
                )
            made = self._database.run(
                "INSERT INTO nights"
                " (schedule, due_at, run_id, state, text, path, results, began_at, attempts)"
                " VALUES (?, ?, ?, 'running', ?, ?, ?, ?, 1)",
                entry.name,
                _told(due_at),
                run_id,
                *of_schedule,
                _told(now),
            ).lastrowid
            if not is_asked:
                self.reach(entry.name, due_at)
        assert made is not None  # one row was inserted
        return self.night(made)

    def reach(self, schedule: str, horizon: datetime) -> None:
        """Record that all due times of a schedule up to `horizon` have their nights."""
        self._database.run(
            "UPDATE schedules SET horizon = ? WHERE name = ?", _told(horizon), schedule
        )

    def begin_again(self, night: Night) -> Night:
        """Record that a night whose process is gone is resumed in another process."""
        self._database.run(
            "UPDATE nights SET attempts = attempts + 1 WHERE night_id = ?", night.night_id
        )
        return self.night(night.night_id)

    def crashed(self, night: Night) -> Night:
        """Record that the process of a night has ended without being asked to."""
        self._database.run(
            "UPDATE nights SET crashes = crashes + 1 WHERE night_id = ?", night.night_id
        )
        return self.night(night.night_id)

    def end(self, night: Night, outcome: NightOutcome, now: datetime, *, is_to_tell: bool) -> Night:
        """Record how a night ended, and whether to run the notify command of its schedule."""
        found = outcome.found and outcome.found[:MAX_TEXT]
        self._database.run(
            "UPDATE nights SET state = ?, note = ?, is_news = ?, found = ?, report = ?,"
            " ended_at = ?, tell_at = ? WHERE night_id = ? AND state = 'running'",
            outcome.state,
            outcome.note and outcome.note[:MAX_TEXT],
            outcome.is_news,
            found,
            outcome.report,
            _told(now),
            _told(now) if is_to_tell else None,
            night.night_id,
        )
        return self.night(night.night_id)

    def to_tell(self, now: datetime) -> tuple[Night, ...]:
        """Nights with a notification due now, oldest first."""
        return self._nights(
            "SELECT * FROM nights WHERE tell_at <= ? AND told_at IS NULL ORDER BY night_id",
            _told(now),
        )

    def claim(self, night: Night, again_at: datetime | None) -> bool:
        """Claim a night's notification until `again_at`; False if another process has done so."""
        claimed = self._database.run(
            "UPDATE nights SET tells = tells + 1, tell_at = ?"
            " WHERE night_id = ? AND tells = ? AND told_at IS NULL",
            again_at and _told(again_at),
            night.night_id,
            night.tells,
        )
        return claimed.rowcount > 0

    def told(self, night: Night, now: datetime, error: str | None) -> None:
        """Record that a night's notification was sent, or why it failed."""
        self._database.run(
            "UPDATE nights SET told_at = ?, tell_error = ? WHERE night_id = ?",
            None if error else _told(now),
            error,
            night.night_id,
        )

    def _nights(self, statement: str, *values: object) -> tuple[Night, ...]:
        return tuple(map(_night, self._database.rows(statement, *values)))


def _told(moment: datetime) -> str:
    """A moment in UTC, as text of fixed length."""
    return moment.astimezone(timezone.utc).isoformat(timespec="microseconds")


def _entry(row: sqlite3.Row) -> Entry:
    return Entry(**{**dict(row), "horizon": datetime.fromisoformat(row["horizon"])})


def _night(row: sqlite3.Row) -> Night:
    fields: dict[str, Any] = dict(row)
    for name in ("due_at", "began_at", "ended_at", "tell_at", "told_at"):
        fields[name] = fields[name] and datetime.fromisoformat(fields[name])
    fields["is_news"] = bool(fields["is_news"])
    return Night(**fields)
