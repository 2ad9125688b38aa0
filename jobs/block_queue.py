"""The queue of a block: its tasks that wait, where they were lost, and where they must go."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterator

from jobs.order import Block
from jobs.task import Task

IsOver = Callable[[str], bool]
"""Whether a cell needs no more tasks."""


class BlockQueue:
    """The tasks of a block: waiting, in flight, and where they must go.

    Attributes:
        block: whose tasks these are.
        home: the only place that they may go to; None: any that can.
        in_flight: how many are.
        stuck_s: since when no place can take them, by the placement's clock; None: one can.
        avoided: places that get none.
    """

    def __init__(self, block: Block, tasks: Iterator[Task], home: str | None) -> None:
        self.block = block
        self.home = home
        self.in_flight = 0
        self.stuck_s: float | None = None
        self.avoided: set[str] = set()
        self._tasks = tasks
        self._waiting: deque[Task] = deque()
        self._spoilt: dict[Task, set[str]] = {}

    def has_more(self, is_over: IsOver) -> bool:
        """Whether a task waits; those of cells that are over are dropped."""
        while self._waiting and is_over(self._waiting[0].cell_id):
            self._waiting.popleft()
        while not self._waiting:
            task = next(self._tasks, None)
            if task is None:
                return False
            if not is_over(task.cell_id):
                self._waiting.append(task)
        return True

    def first(self, place: str, others: Collection[str], *, is_held: bool) -> Task | None:
        """The first task for a place: not one that was lost there, while it can go to another.

        Args:
            place: its name.
            others: names of those that can take tasks of this queue too.
            is_held: it gets none but those that were lost elsewhere.
        """
        for task in self._waiting:
            spoilt = self._spoilt.get(task, set())
            if place in spoilt and set(others) - spoilt:
                continue
            if spoilt or not (is_held and others):
                return task
        return None

    def spoilt(self, task: Task) -> set[str]:
        """Where a task was lost."""
        return self._spoilt.get(task, set())

    def take(self, task: Task) -> None:
        """A task goes."""
        self._waiting.remove(task)
        self.in_flight += 1

    def give_back(self, task: Task, place: str, *, again: bool, is_spoilt: bool) -> None:
        """A task has come back."""
        self.in_flight -= 1
        if again:
            self._waiting.appendleft(task)
        if again and is_spoilt:
            self._spoilt.setdefault(task, set()).add(place)
        elif not again:
            self._spoilt.pop(task, None)

    def restart(self, tasks: Iterator[Task]) -> None:
        """All over again, wherever there is a place."""
        self._tasks, self.home, self.stuck_s = tasks, None, None
        self._waiting.clear()
        self._spoilt.clear()
