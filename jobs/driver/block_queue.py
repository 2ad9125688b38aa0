"""The queue of a block: waiting tasks, hosts that lost them, and the host they are bound to."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterator

from jobs.plan.order import CellBlock
from jobs.plan.task import Task

IsOver = Callable[[str], bool]
"""Whether a cell needs no more tasks."""


class BlockQueue:
    """The tasks of a block: waiting, in flight, and where they must go.

    Attributes:
        block: whose tasks these are.
        home: the only place that they may go to; None: any that can.
        in_flight: how many are.
        has_begun: one of them has been done, or has failed, at home.
        stuck_s: since when no place can take them, by the placement's clock; None: one can.
        avoided: places that get none.
    """

    def __init__(self, block: CellBlock, tasks: Iterator[Task], home: str | None) -> None:
        self.block = block
        self.home = home
        self.in_flight = 0
        self.has_begun = home is not None
        self.stuck_s: float | None = None
        self.avoided: set[str] = set()
        self._tasks = tasks
        self._waiting: deque[Task] = deque()
        self._spoilt: dict[Task, set[str]] = {}

    def has_more(self, is_over: IsOver) -> bool:
        """Whether a task waits; those of cells that are over are dropped."""
        while self._waiting and is_over(self._waiting[0].cell_id):
            self._spoilt.pop(self._waiting.popleft(), None)
        return bool(self._waiting) or self._draw(is_over) is not None

    def first(
        self, place: str, others: Collection[str], is_over: IsOver, *, is_held: bool
    ) -> Task | None:
        """The first task for a place: not one that was lost there, while it can go to another.

        What stands behind such a task is handed out meanwhile, but for timed tasks: none of them
        is overtaken.

        Args:
            place: its name.
            others: names of those that can take tasks of this queue too.
            is_over: of a cell.
            is_held: it gets none but those that were lost elsewhere, while there are others.
        """
        is_held = is_held and bool(others)
        for task in self._waiting:
            if is_over(task.cell_id):
                continue
            spoilt = self.spoilt(task)
            is_left_to_others = place in spoilt and not spoilt.issuperset(others)
            if not is_left_to_others and (spoilt or not is_held):
                return task
            if task.is_timed:
                return None
        return None if is_held else self._draw(is_over)

    def _draw(self, is_over: IsOver) -> Task | None:
        """The next of the tasks that nobody has had; it waits from now on. None: there is none."""
        for task in self._tasks:
            if not is_over(task.cell_id):
                self._waiting.append(task)
                return task
        return None

    def spoilt(self, task: Task) -> frozenset[str]:
        """Where a task was lost."""
        return frozenset(self._spoilt.get(task, ()))

    def take(self, task: Task) -> None:
        """A task goes."""
        self._waiting.remove(task)
        self.in_flight += 1

    def give_back(self, task: Task, place: str, *, again: bool, is_spoilt: bool) -> None:
        """A task has come back."""
        self.in_flight -= 1
        self.has_begun |= not again
        if again:
            self._waiting.appendleft(task)
        if again and is_spoilt:
            self._spoilt.setdefault(task, set()).add(place)
        elif not again:
            self._spoilt.pop(task, None)

    def restart(self, tasks: Iterator[Task]) -> None:
        """All over again, wherever there is a place."""
        self._tasks, self.home, self.stuck_s, self.has_begun = tasks, None, None, False
        self._waiting.clear()
        self._spoilt.clear()
