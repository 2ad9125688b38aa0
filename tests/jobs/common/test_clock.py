"""The time of day, on clocks that the test sets."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from jobs.common.clock import DayClock, now

S = 1_000_000_000


class Clocks:
    """A wall clock that somebody sets, and one that nobody sets."""

    def __init__(self) -> None:
        self.wall_ns, self.monotonic_ns = 1_700_000_000 * S, 5 * S
        self.clock = DayClock(lambda: self.wall_ns, lambda: self.monotonic_ns)

    def pass_by(self, seconds: float) -> datetime:
        """Both go on; what is told then."""
        self.wall_ns += round(seconds * S)
        self.monotonic_ns += round(seconds * S)
        return self.clock.now()


def test_it_is_the_wall_clock() -> None:
    """Naive UTC, to the microsecond."""
    told = Clocks().pass_by(0.25)
    assert told == datetime(2023, 11, 14, 22, 13, 20, 250_000)  # noqa: DTZ001 - rows are naive
    real = datetime.now(timezone.utc).replace(tzinfo=None)
    assert abs(now() - real) < timedelta(seconds=5)


def test_set_back_it_goes_on() -> None:
    """Durations are as they were, until the wall clock has caught up."""
    clocks = Clocks()
    before = clocks.pass_by(1)
    clocks.wall_ns -= 3600 * S
    assert clocks.pass_by(2) - before == timedelta(seconds=2)
    assert clocks.pass_by(3) - before == timedelta(seconds=5)


def test_set_forward_it_follows() -> None:
    """A board that has just learnt the time."""
    clocks = Clocks()
    before = clocks.pass_by(1)
    clocks.wall_ns += 3600 * S
    assert clocks.pass_by(1) - before == timedelta(seconds=3601)
