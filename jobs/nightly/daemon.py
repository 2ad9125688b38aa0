"""The daemon's loop: what is due begins, what was killed goes on, what has ended is told."""

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
"""Times that the process of a night may end by itself."""

MAX_ATTEMPTS = 25
"""Times that a night is begun in all: one that takes the whole machine down must end some time."""

BUSY = 75
"""With which a night's process ends where another one is at it: EX_TEMPFAIL of sysexits."""

WATCH_S = 1.0
"""Between two looks whether a night has ended: one `waitpid`, which no clock notices."""

FOREIGN_S = 10.0
"""Between two looks whether a night that is none of ours has ended."""

IDLE_S = 30.0
"""Between two looks at the ledger and the clock: either may be changed by others."""

STOP_S = 10.0
"""How long a night has to end by itself when the daemon is ended; what is committed is kept."""


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
    """The wall's clock: it may be set, and then due times go by what it says."""
    return datetime.now(timezone.utc)


class Scheduler:
    """Runs nights one after another, each in a process of its own.

    Args:
        ledger: schedules and nights; its lock is held while `run` runs.
        start: starts the process of a night.
        end: ends one, whatever it does.
        say: told what happens, for the log.
        clock: the time of day, UTC.
        pause: waits for some seconds.
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
        """Until it is interrupted; a night that runs then can go on later.

        Raises:
            BusyError: another daemon has the ledger.
            KeyboardInterrupt: always, in the end.
        """
        refusal = (
            f"a scheduler runs already on {self._ledger.path}: {{owner}}. End that one first, or"
            " give this one another --ledger"
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
        """See what has ended, and begin what is due. While a night runs, nothing else is done."""
        if self._child and self._child.poll() is None:
            return
        self._look_at_end()
        owner = storage.lock_holder(self._ledger.night_lock)
        if owner and owner != self._waits_for:
            self._say(f"a night runs that is none of this scheduler's, it is waited for: {owner}")
        self._waits_for = owner
        if owner:
            return
        now = self._clock()
        if self._ledger.heed_clock(now):
            self._say("the clock was set back: what has run at a due time does not run again")
        notify_all(self._ledger, now, self._say)
        for night in self._ledger.running():
            if self._go_on(night):
                return
        self._begin_next(self._clock())

    def idle_s(self) -> float:
        """How long nothing is to be done, seconds."""
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
        """Of our process, where there was one."""
        if not self._child or not self._night:
            return
        code, self._child = self._child.poll(), None
        night, self._night = self._ledger.night(self._night.night_id), None
        if night.state != "running":
            self._say(f"{_name(night)}: {night.state}" + (f": {night.note}" if night.note else ""))
        elif code != BUSY:
            self._ledger.crashed(night)
            self._say(f"{_name(night)}: its process ended with {code}; log: {self._log(night)}")

    def _go_on(self, night: Night) -> bool:
        """Go on with a night whose process is gone; False where it ends here."""
        if why := self._why_not(night):
            outcome = NightOutcome("failed", why, is_news=True)
            self._ledger.end(night, outcome, self._clock(), is_to_tell=_is_to_tell(night))
            self._say(f"{_name(night)}: failed: {why}")
            return False
        night = self._ledger.begin_again(night)
        self._say(f"{_name(night)}: was cut short, goes on (attempt {night.attempts})")
        self._run(night)
        return True

    def _why_not(self, night: Night) -> str:
        """Why a night that was cut short does not go on; empty where it does."""
        if night.crashes >= MAX_CRASHES:
            return f"its process ended {night.crashes} times by itself; log: {self._log(night)}"
        if night.attempts >= MAX_ATTEMPTS:
            return f"cut short {night.attempts} times; log: {self._log(night)}"
        if night.schedule not in {entry.name for entry in self._ledger.schedules()}:
            return "cut short, and its schedule was removed"
        return ""

    def _begin_next(self, now: datetime) -> None:
        """Begin the night that has been due for longest; with all nights, what was missed."""
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
                f"{count} missed, the last of them this one; run once instead,"
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
        self._say(f"{_name(night)}: begins, run {night.run_id}")
        self._run(night)

    def _due(self, entry: Entry, schedule: Schedule, now: datetime) -> Missed:
        """Due times that have passed and have no night."""
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
        """All schedules that this version can read; what others are is said once."""
        for entry in self._ledger.schedules():
            try:
                yield entry, parse_entry(entry.path, entry.text, entry.results)
            except BadInputError as err:  # the others run
                if entry.text not in self._unread:
                    self._unread.add(entry.text)
                    self._say(f"{entry.name} does not run, it cannot be read any more: {err}")

    def _log(self, night: Night) -> Path:
        return self._ledger.log_of(night)

    def _stop(self) -> None:
        """End the night's process; the night is still to be ended, by a later one."""
        if self._child and self._child.poll() is None and self._night:
            self._say(f"{_name(self._night)}: stopped; it goes on when a scheduler starts again")
            self._end(self._child)
        self._say("scheduler ended")


@lru_cache(maxsize=256)
def parse_entry(path: str, text: str, results: str) -> Schedule:
    """A schedule of the ledger.

    Raises:
        BadInputError: it cannot be read by this version.
    """
    return read_schedule(Document(Path(path), text), results)


def run_name(schedule: str, due_at: datetime) -> str:
    """The run of a night."""
    return f"{schedule}-{due_at:%Y%m%d-%H%M%S}"


def root_of(night: Night) -> storage.Root:
    """The results root of a night.

    Raises:
        BadInputError: its schedule cannot be read by this version.
    """
    return parse_entry(night.path, night.text, night.results).results


def _is_to_tell(night: Night) -> bool:
    try:
        return parse_entry(night.path, night.text, night.results).notify is not None
    except BadInputError:
        return False


def _name(night: Night) -> str:
    return f"{night.schedule}, due {night.due_at:%Y-%m-%d %H:%M} UTC"
