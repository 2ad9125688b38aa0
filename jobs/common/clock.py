"""The time of day, which never goes back within one process.

A board without a battery gets its time from the network, and its clock may be set during a run.
Even then no recorded end is earlier than its start.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import datetime, timezone

NS_PER_S = 1_000_000_000


class DayClock:
    """Tells the time of day; follows the monotonic clock if the wall clock is set back.

    Args:
        wall_ns, monotonic_ns: clocks in nanoseconds; fakes in tests.
    """

    def __init__(
        self,
        wall_ns: Callable[[], int] = time.time_ns,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._wall_ns, self._monotonic_ns = wall_ns, monotonic_ns
        self._lock = threading.Lock()
        self._told_ns, self._at_ns = wall_ns(), monotonic_ns()

    def now(self) -> datetime:
        """Return the time as naive UTC, as in all rows."""
        with self._lock:
            at_ns = self._monotonic_ns()
            self._told_ns = max(self._wall_ns(), self._told_ns + at_ns - self._at_ns)
            self._at_ns = at_ns
            told_ns = self._told_ns
        seconds, rest_ns = divmod(told_ns, NS_PER_S)
        whole = datetime.fromtimestamp(seconds, timezone.utc)
        return whole.replace(microsecond=rest_ns // 1000, tzinfo=None)


_clock = DayClock()


def now() -> datetime:
    """Return the time of day by this process's clock."""
    return _clock.now()
