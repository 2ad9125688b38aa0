"""The time of day, such that within one process it never goes back.

A board without a battery learns the time from the network, perhaps in mid-run, and then its clock
is set. What ends is still never written down as earlier than what began.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import datetime, timezone

NS_PER_S = 1_000_000_000


class DayClock:
    """Tells the time of day, and goes on by the monotonic clock where the wall's is set back.

    Args:
        wall_ns, monotonic_ns: nanoseconds; fake ones in tests.
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
        """Naive UTC, as all rows have it."""
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
    """The time of day by this process's clock."""
    return _clock.now()
