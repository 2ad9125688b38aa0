"""A lane: the tasks of one device, given out so that a timed one is alone."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

from jobs.task import Task


class Lane:
    """Hands out tasks in order: untimed ones up to a capacity, a timed one only by itself.

    Args:
        tasks: all tasks of the device, in order; read as needed, so a long queue costs nothing.
        capacity: untimed tasks in flight at most.
    """

    def __init__(self, tasks: Iterator[Task], capacity: int) -> None:
        self._tasks = tasks
        self._capacity = capacity
        self._waiting: deque[Task] = deque()
        self._in_flight: set[Task] = set()

    @property
    def in_flight(self) -> int:
        """Tasks handed out and not yet taken back."""
        return len(self._in_flight)

    def take(self, is_over: Callable[[str], bool]) -> Task | None:
        """The next task that may start now, or None.

        Args:
            is_over: whether a cell needs no more tasks; those left of it are dropped.
        """
        task = self._next(is_over)
        if task is None:
            return None
        is_free = not self._in_flight if task.is_timed else self._has_room()
        if not is_free:
            self._waiting.appendleft(task)
            return None
        self._in_flight.add(task)
        return task

    def give_back(self, task: Task, *, again: bool = False) -> None:
        """A task has ended; `again` puts it first in the queue."""
        self._in_flight.discard(task)
        if again:
            self._waiting.appendleft(task)

    def _has_room(self) -> bool:
        is_timing = any(task.is_timed for task in self._in_flight)
        return not is_timing and len(self._in_flight) < self._capacity

    def _next(self, is_over: Callable[[str], bool]) -> Task | None:
        while True:
            task = self._waiting.popleft() if self._waiting else next(self._tasks, None)
            if task is None or not is_over(task.cell_id):
                return task
