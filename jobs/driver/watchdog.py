"""The watchdog: which tasks in flight have completed no batch for too long.

A task is judged by its progress, not by its age: one that keeps completing batches may take all
night. The watchdog asks for progress seldom, and never for that of a young task.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass

STALL_S = 600.0
"""How long a task may complete nothing by default: a large batch on a small board takes
minutes, and so does compiling an engine."""

LOOKS = 4
"""Checks of a task per time limit, once it is no longer young; its worker reports as often."""


@dataclass
class _Watch:
    """One task in flight; all times in seconds of the watchdog's clock."""

    host: str
    limit_s: float
    last_sign_s: float
    look_s: float
    progress: int | None = None


class Watchdog:
    """Watches tasks in flight.

    A task that has not begun waits behind the others of its host, so any progress of theirs counts
    for it.

    Args:
        limit_s: time without progress after which a task has stalled.
        clock: seconds; a fake one in tests.
    """

    def __init__(
        self, limit_s: float = STALL_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limit_s = limit_s
        self._clock = clock
        self._watches: dict[Hashable, _Watch] = {}
        self._last_sign_s: dict[str, float] = {}

    def begin(self, key: Hashable, host: str, quiet_s: float = 0.0) -> None:
        """Watch a task that was handed over; for `quiet_s` it completes nothing on purpose."""
        now_s, limit_s = self._clock(), self._limit_s + quiet_s
        self._watches[key] = _Watch(host, limit_s, now_s, now_s + limit_s / LOOKS)

    def end(self, key: Hashable) -> None:
        """Stop watching a task that has ended; this counts as progress on its host."""
        watch = self._watches.pop(key, None)
        if watch:
            self._last_sign_s[watch.host] = self._clock()

    def due_s(self) -> float:
        """Seconds until the next check is due; infinite if no task is in flight."""
        if not self._watches:
            return math.inf
        return max(min(watch.look_s for watch in self._watches.values()) - self._clock(), 0.0)

    def stalled(self, ask: Callable[[Hashable], int | None]) -> list[Hashable]:
        """Check the tasks that are due.

        Args:
            ask: returns the number of batches that a task has completed, as its worker reports it;
                None if it reports nothing: it is young, has not begun, or cannot.

        Returns: the tasks that have stalled.
        """
        now_s = self._clock()
        due = {key: watch for key, watch in self._watches.items() if watch.look_s <= now_s}
        for key, watch in due.items():
            watch.look_s = now_s + watch.limit_s / LOOKS
            progress = ask(key)
            if progress != watch.progress:
                watch.progress = progress
                watch.last_sign_s = self._last_sign_s[watch.host] = now_s
        return [key for key, watch in due.items() if now_s - self._last_s(watch) >= watch.limit_s]

    def _last_s(self, watch: _Watch) -> float:
        """The time of a task's last sign of progress."""
        if watch.progress is not None:
            return watch.last_sign_s
        return max(watch.last_sign_s, self._last_sign_s.get(watch.host, -math.inf))
