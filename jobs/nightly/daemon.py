"""The daemon's loop: starts due nights, resumes killed ones, and notifies about ended ones."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import storage
from jobs.common.errors import BadInputError
from jobs.common.text import ShowText
from jobs.common.yaml_document import Document
from jobs.nightly.cron import Missed
from jobs.nightly.ledger import Ledger
from jobs.nightly.lock import Lock
from jobs.nightly.notify import notify_all
from jobs.nightly.records import Entry, Night, NightOutcome
from jobs.nightly.schedule import Schedule, read_schedule

MAX_CRASHES = 3
"""Crashes of a night's process after which the night has failed."""

MAX_ATTEMPTS = 25
"""Starts of a night in all: one that takes down the whole machine must end at some point."""

BUSY = 75
"""Exit code of a night's process if another one is running a night: EX_TEMPFAIL of sysexits."""

WATCH_S = 1.0
"""Time between two checks whether a night has ended: one `waitpid`, too short to affect timings."""

FOREIGN_S = 10.0
"""Time between two checks whether a night that this daemon did not start has ended."""

IDLE_S = 30.0
"""Most time between two checks of the ledger and the clock: other processes may change either."""

STOP_S = 10.0
"""How long a night may take to end when the daemon is stopped; committed rows are kept."""


class Child(Protocol):
    """The process of a night, as `subprocess.Popen` has it."""

    pid: int

    def poll(self) -> int | None:
        """Its exit code; None while it runs."""

    def terminate(self) -> None:
        """Ask it to end."""

    def wait(self, timeout: float) -> int:
        """Wait for its end."""


Starter = Callable[[Ledger, Night], Child]
Ender = Callable[[Child], None]


def utc_now() -> datetime:
    """The time of day; if the clock is set, due times follow it."""
    return datetime.now(timezone.utc)


class Scheduler:
    """Runs nights one after another, each in a process of its own.

    Args:
        ledger: schedules and nights; its daemon lock is held during `run`.
        start: starts the process of a night.
        end: ends such a process, whatever it is doing.
        say: writes messages to the log.
        clock: the time of day, UTC.
        pause: waits for a number of seconds.
    """

    def __init__(
        self,
        ledger: Ledger,
        start: Starter,
        end: Ender,
        say: ShowText,
        *,
        clock: Callable[[], datetime] = utc_now,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._ledger, self._start, self._end, self._say = ledger, start, end, say
        self._clock, self._pause = clock, pause
        self._child: Child | None = None
        self._night: Night | None = None
        self._waits_for: str | None = None
        self._unread: set[str] = set()

    def run(self) -> None:
        """Run the loop until it is interrupted; a night that is running then can be resumed.

        Raises:
            BusyError: another daemon uses the ledger.
            KeyboardInterrupt: always, at the end.
        """
        refusal = (
            f"a scheduler is already running on {self._ledger.path}: {{owner}}. Stop it first, or"
            " start this one with another --ledger"
        )
        with Lock(self._ledger.daemon_lock, refusal):
            names = ", ".join(entry.name for entry in self._ledger.schedules())
            self._say(f"scheduler started; schedules: {names or 'none yet'}")
            try:
                while True:
                    self.wake()
                    self._pause(self.idle_s())
            finally:
                self._stop()

    def wake(self) -> None:
        """Handle an ended night, and start a due one; does nothing while a night is running."""
        if self._child and self._child.poll() is None:
            return
        self._look_at_end()
        owner = storage.lock_holder(self._ledger.night_lock)
        if owner and owner != self._waits_for:
            self._say(f"waiting for a night that this scheduler did not start: {owner}")
        self._waits_for = owner
        if owner:
            return
        now = self._clock()
        if self._ledger.heed_clock(now):
            self._say("the clock was set back: a due time that has run does not run again")
        notify_all(self._ledger, now, self._say)
        for night in self._ledger.running():
            if self._go_on(night):
                return
        self._begin_next(self._clock())

    def idle_s(self) -> float:
        """Seconds until `wake` must be called again."""
        if self._child:
            return WATCH_S
        if storage.lock_holder(self._ledger.night_lock):
            return FOREIGN_S
        now = self._clock()
        nexts = [
            schedule.calendar.next(max(entry.horizon, now)) - now
            for entry, schedule in self._readable()
        ]
        return min([IDLE_S, *(each.total_seconds() for each in nexts)])

    def _look_at_end(self) -> None:
        """Record how our night's process ended, if there was one."""
        if not self._child or not self._night:
            return
        code, self._child = self._child.poll(), None
        night, self._night = self._ledger.night(self._night.night_id), None
        if night.state != "running":
            self._say(f"{_name(night)}: {night.state}" + (f": {night.note}" if night.note else ""))
        elif code != BUSY:
            self._ledger.crashed(night)
            self._say(f"{_name(night)}: its process exited with {code}; log: {self._log(night)}")

    def _go_on(self, night: Night) -> bool:
        """Resume a night whose process is gone; False if the night ends here."""
        if why := self._why_not(night):
            outcome = NightOutcome("failed", why, is_news=True)
            self._ledger.end(night, outcome, self._clock(), is_to_tell=_is_to_tell(night))
            self._say(f"{_name(night)}: failed: {why}")
            return False
        night = self._ledger.begin_again(night)
        self._say(f"{_name(night)}: was interrupted, is resumed (attempt {night.attempts})")
        self._run(night)
        return True

    def _why_not(self, night: Night) -> str:
        """Why an interrupted night is not resumed; empty if it is."""
        if night.crashes >= MAX_CRASHES:
            return f"its process crashed {night.crashes} times; log: {self._log(night)}"
        if night.attempts >= MAX_ATTEMPTS:
            return f"interrupted {night.attempts} times; log: {self._log(night)}"
        if night.schedule not in {entry.name for entry in self._ledger.schedules()}:
            return "interrupted, and its schedule was removed"
        return ""

    def _begin_next(self, now: datetime) -> None:
        """Start the night that has been due for longest; records earlier due times as missed."""
        due = [
            (moments, entry, schedule)
            for entry, schedule in self._readable()
            if (moments := self._due(entry, schedule, now)).newest
        ]
        if not due:
            return
        moments, entry, schedule = min(due, key=lambda each: each[0].newest[-1])
        *missed, due_at = moments.newest
        note = None
        if missed:
            count = len(missed) + moments.older
            note = (
                f"{count} missed, up to and including this one; one night runs instead,"
                f" at {now:%Y-%m-%d %H:%M} UTC"
            )
            self._say(f"{entry.name}: {count} missed, the last due {missed[-1]:%Y-%m-%d %H:%M} UTC")
        night = self._ledger.begin(
            entry,
            due_at,
            run_name(entry.name, due_at),
            now,
            missed,
            note=note,
            is_to_tell=schedule.notify is not None,
        )
        self._say(f"{_name(night)}: starts as run {night.run_id}")
        self._run(night)

    def _due(self, entry: Entry, schedule: Schedule, now: datetime) -> Missed:
        """Due times of a schedule that have passed and have no night."""
        passed = schedule.calendar.between(entry.horizon, now)
        if not passed.newest:
            return passed
        known = self._ledger.due_times(entry.name, entry.horizon)
        newest = tuple(moment for moment in passed.newest if moment not in known)
        if not newest:
            self._ledger.reach(entry.name, passed.newest[-1])
        return Missed(newest, passed.older)

    def _run(self, night: Night) -> None:
        self._night = night
        self._child = self._start(self._ledger, night)

    def _readable(self) -> Iterator[tuple[Entry, Schedule]]:
        """All schedules that this version can read; reports each other one once."""
        for entry in self._ledger.schedules():
            try:
                yield entry, parse_entry(entry.path, entry.text, entry.results)
            except BadInputError as err:  # the other schedules still run
                if entry.text not in self._unread:
                    self._unread.add(entry.text)
                    self._say(f"{entry.name} does not run: it can no longer be read: {err}")

    def _log(self, night: Night) -> Path:
        return self._ledger.log_of(night)

    def _stop(self) -> None:
        """End the night's process; a later daemon resumes the night."""
        if self._child and self._child.poll() is None and self._night:
            self._say(f"{_name(self._night)}: stopped; it is resumed when a scheduler starts again")
            self._end(self._child)
        self._say("scheduler ended")


@lru_cache(maxsize=256)
def parse_entry(path: str, text: str, results: str) -> Schedule:
    """Read a schedule of the ledger.

    Raises:
        BadInputError: this version cannot read it.
    """
    return read_schedule(Document(Path(path), text), results)


def run_name(schedule: str, due_at: datetime) -> str:
    """The name of a night's run."""
    return f"{schedule}-{due_at:%Y%m%d-%H%M%S}"


def root_of(night: Night) -> storage.Root:
    """The results root of a night.

    Raises:
        BadInputError: this version cannot read its schedule.
    """
    return parse_entry(night.path, night.text, night.results).results


def _is_to_tell(night: Night) -> bool:
    try:
        return parse_entry(night.path, night.text, night.results).notify is not None
    except BadInputError:
        return False


def _name(night: Night) -> str:
    return f"{night.schedule}, due {night.due_at:%Y-%m-%d %H:%M} UTC"
