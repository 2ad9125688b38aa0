"""A ledger, a schedule that needs no grid, and a machine whose clock and processes are played."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from jobs.nightly.daemon import Scheduler
from jobs.nightly.ledger import Ledger
from jobs.nightly.records import Entry, Night, NightOutcome

AUTUMN = datetime(2026, 10, 20, 12, tzinfo=timezone.utc)
SCHEDULE = """\
grid: grid.yaml
cron: 30 2 * * *
timezone: Europe/Berlin
inline: true
"""


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """An empty one."""
    opened = Ledger(tmp_path / "state" / "nights.sqlite")
    yield opened
    opened.close()


@pytest.fixture
def entry(tmp_path: Path) -> Entry:
    """Each night at half past two in Berlin, from noon of 20 October on."""
    return Entry("nightly", SCHEDULE, str(tmp_path / "s.yaml"), str(tmp_path / "results"), AUTUMN)


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    """Write a file of that text."""

    def write_text(text: str, name: str = "s.yaml") -> Path:
        path = tmp_path / name
        path.write_text(textwrap.dedent(text))
        return path

    return write_text


@dataclass
class Process:
    """A night's process as the daemon sees it; the test says when it ends, and how."""

    machine: Machine
    night: Night
    pid: int = 1
    code: int | None = None

    def poll(self) -> int | None:
        """Its exit code."""
        return self.code

    def terminate(self) -> None:
        """End it in mid-night."""
        self.code = -15

    def wait(self, timeout: float) -> int:
        """It ends at once."""
        assert timeout > 0
        assert self.code is not None
        return self.code

    def finish(self, state: str = "done") -> None:
        """Bring the night to its end."""
        outcome = NightOutcome(state, state, is_news=state != "done")
        self.machine.ledger.end(self.night, outcome, self.machine.now, is_to_tell=False)
        self.code = 0


@dataclass
class Machine:
    """A clock, and the nights that were started on it."""

    ledger: Ledger
    now: datetime = AUTUMN
    processes: list[Process] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    scheduler: Scheduler = field(init=False)

    def __post_init__(self) -> None:
        """The daemon starts."""
        self.boot()

    def boot(self) -> None:
        """All processes are gone, and another daemon starts."""
        self.scheduler = Scheduler(
            self.ledger,
            self.start,
            lambda child: child.terminate(),
            self.said.append,
            clock=self.clock,
        )

    def clock(self) -> datetime:
        """The time of day."""
        return self.now

    def start(self, _ledger: Ledger, night: Night) -> Process:
        """Start a night's process."""
        self.processes.append(Process(self, night))
        return self.processes[-1]

    def wake_at(self, *when: int, **passed: float) -> Process | None:
        """Set the clock (month, day, hour, minute in UTC; or so much later) and wake the daemon.

        Returns: the process that it started.
        """
        if when:
            month, day, hour, minute = when
            self.now = replace_time(self.now, month, day, hour, minute)
        self.now += timedelta(**passed)
        before = len(self.processes)
        self.scheduler.wake()
        return self.processes[-1] if len(self.processes) > before else None

    def states(self) -> list[tuple[str, str]]:
        """Due time and state of each night, oldest first."""
        nights = self.ledger.nights()[::-1]
        return [(f"{night.due_at:%m-%d %H:%M}", night.state) for night in nights]


def replace_time(moment: datetime, month: int, day: int, hour: int, minute: int) -> datetime:
    """Another time of the same year."""
    return moment.replace(month=month, day=day, hour=hour, minute=minute, second=0, microsecond=0)


@pytest.fixture
def machine(ledger: Ledger, entry: Entry) -> Machine:
    """With one schedule."""
    ledger.save_schedule(replace(entry))
    return Machine(ledger)
