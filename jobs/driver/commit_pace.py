"""Commit pace: how long ended tasks wait for others, so that one commit takes them all.

A commit flushes to the disk a few times, however many tasks it has. Tasks that end far apart do not
wait: a commit is due as soon as the ones before took only a small share of the time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

GROUP_TASKS = 64
"""Most tasks that are committed together: their rows are in memory until then."""

COMMIT_SHARE = 0.1
"""Largest share of a driver's time for commits while tasks end faster than they are committed."""

MAX_LINGER_S = 0.25
"""Longest time that an ended task waits; a driver that is killed meanwhile has lost its rows."""


class CommitPace:
    """Decides when the next commit is due.

    Args:
        clock: seconds; a fake one in tests.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._due_s = clock()

    def left_s(self, ended: int) -> float:
        """Seconds until the next commit is due, with so many ended tasks; 0 if it is due."""
        return 0.0 if ended >= GROUP_TASKS else max(self._due_s - self._clock(), 0.0)

    @contextmanager
    def committing(self) -> Iterator[None]:
        """Take the time of a commit: the next one is due the later, the longer this one takes."""
        began_s = self._clock()
        yield
        ended_s = self._clock()
        linger_s = (ended_s - began_s) * (1 - COMMIT_SHARE) / COMMIT_SHARE
        self._due_s = ended_s + min(linger_s, MAX_LINGER_S)
