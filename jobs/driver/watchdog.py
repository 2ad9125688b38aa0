"""The watchdog: which tasks in flight have finished no batch for too long.

A task is judged by its progress, not by its age: one that goes on finishing batches may take all
night. What a task has finished is asked for seldom, and of none that is young.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass

STALL_S = 600.0
"""How long a task may finish nothing, unless told otherwise: a large batch on a small board takes
minutes, and so does an engine that compiles."""

LOOKS = 4
"""In one such time, at a task that is no longer young; its worker reports as often."""


@dataclass
class _Watch:
    """One task in flight; all times of the watchdog's clock, seconds."""

    place: str
    limit_s: float
    signed_s: float
    look_s: float
    beats: int | None = None


class Watchdog:
    """Keeps an eye on tasks in flight.

    A task that has not begun waits behind the others of its place: any sign of theirs counts for
    it.

    Args:
        limit_s: after which a task without progress has stalled.
        clock: seconds; a fake one in tests.
    """

    def __init__(
        self, limit_s: float = STALL_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limit_s = limit_s
        self._clock = clock
        self._watches: dict[Hashable, _Watch] = {}
        self._signed_s: dict[str, float] = {}

    def begin(self, key: Hashable, place: str, quiet_s: float = 0.0) -> None:
        """A task was handed over; `quiet_s` it spends on purpose without finishing anything."""
        now_s, limit_s = self._clock(), self._limit_s + quiet_s
        self._watches[key] = _Watch(place, limit_s, now_s, now_s + limit_s / LOOKS)

    def end(self, key: Hashable) -> None:
        """A task came back, which is a sign of its place."""
        watch = self._watches.pop(key, None)
        if watch:
            self._signed_s[watch.place] = self._clock()

    def due_s(self) -> float:
        """Seconds until a look is worth it; infinite where nothing is in flight."""
        if not self._watches:
            return math.inf
        return max(min(watch.look_s for watch in self._watches.values()) - self._clock(), 0.0)

    def stalled(self, ask: Callable[[Hashable], int | None]) -> list[Hashable]:
        """Look at the tasks that are due.

        Args:
            ask: how much a task has finished by what its worker reports; None where it says
                nothing, being young, not begun, or unable to.

        Returns: those that have stalled.
        """
        now_s = self._clock()
        due = {key: watch for key, watch in self._watches.items() if watch.look_s <= now_s}
        for key, watch in due.items():
            watch.look_s = now_s + watch.limit_s / LOOKS
            beats = ask(key)
            if beats != watch.beats:
                watch.beats = beats
                watch.signed_s = self._signed_s[watch.place] = now_s
        return [key for key, watch in due.items() if now_s - self._last_s(watch) >= watch.limit_s]

    def _last_s(self, watch: _Watch) -> float:
        """When there last was a sign of a task."""
        if watch.beats is not None:
            return watch.signed_s
        return max(watch.signed_s, self._signed_s.get(watch.place, -math.inf))
