"""The queue of a block: waiting tasks, hosts that lost them, and the host they are bound to."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator, Mapping

from jobs.driver.pace import Sort, sort_of
from jobs.plan.order import CellBlock
from jobs.plan.task import Task

IsOver = Callable[[str], bool]
"""Whether a cell needs no more tasks."""

IsHeld = Callable[[Task], bool]
"""Whether a task must wait until it is known that it is needed."""


def holds_nothing(_: Task) -> bool:
    """Whether a task must wait, where all are needed: never."""
    return False


class BlockQueue:
    """The tasks of a block: waiting, in flight, and where they must go.

    Attributes:
        block: the block that the tasks belong to.
        affinity: the only host that may get them; None: any host that can take them.
        in_flight: the number of tasks in flight.
        has_begun: whether one of them has been completed, or has failed, on that host.
        stuck_s: the time, by the placement's clock, since which no host can take them; None: a
            host can.
        avoided: hosts that get none of them.
        all_images: images of all its tasks, by sort; empty if not known.
        left_images: those of tasks that were not given out.
        restarts: how often it has begun anew.
    """

    def __init__(
        self,
        block: CellBlock,
        tasks: Iterator[Task],
        affinity: str | None,
        all_images: Mapping[Sort, int] | None = None,
        left_images: Mapping[Sort, int] | None = None,
        *,
        is_task_held: IsHeld = holds_nothing,
    ) -> None:
        self.block = block
        self._is_task_held = is_task_held
        self.all_images = Counter(all_images or {})
        self.left_images = Counter(left_images or self.all_images)
        self.restarts = self._ended = 0
        self._is_whole = self.left_images == self.all_images
        self.affinity = affinity
        self.in_flight = 0
        self.has_begun = affinity is not None
        self.stuck_s: float | None = None
        self.avoided: set[str] = set()
        self._tasks = tasks
        self._waiting: deque[Task] = deque()
        self._lost_on: dict[Task, set[str]] = {}

    @property
    def is_first_ended(self) -> bool:
        """Whether the first of all its tasks has ended, and no other."""
        return self._is_whole and self._ended == 1

    def has_more(self, is_over: IsOver) -> bool:
        """Whether a task waits; drops tasks of cells that are over."""
        while self._waiting and is_over(self._waiting[0].cell_id):
            dropped = self._waiting.popleft()
            self._lost_on.pop(dropped, None)
            self._count(dropped, -1)
        return bool(self._waiting) or self._draw(is_over) is not None

    def first(
        self, host: str, others: Collection[str], is_over: IsOver, *, is_held: bool
    ) -> Task | None:
        """The first task for a host: not one that it lost, while another host can take that one.

        Tasks behind such a task are handed out meanwhile, except behind a timed one: timed tasks
        keep their order.

        Args:
            host: its name.
            others: names of other hosts that can take tasks of this queue.
            is_over: whether a cell needs no more tasks.
            is_held: whether the host gets only tasks that other hosts lost, while there are others.
        """
        is_held = is_held and bool(others)
        for task in self._waiting:
            if is_over(task.cell_id):
                continue
            if self._is_task_held(task):
                return None
            lost_on = self.lost_on(task)
            is_left_to_others = host in lost_on and not lost_on.issuperset(others)
            if not is_left_to_others and (lost_on or not is_held):
                return task
            if task.is_timed:
                return None
        drawn = None if is_held else self._draw(is_over)
        return None if drawn is None or self._is_task_held(drawn) else drawn

    def _draw(self, is_over: IsOver) -> Task | None:
        """Put the next task that was never given out into the queue; None if there is none."""
        for task in self._tasks:
            if not is_over(task.cell_id):
                self._waiting.append(task)
                return task
            self._count(task, -1)
        return None

    def _count(self, task: Task, sign: int) -> None:
        self.left_images[sort_of(task)] += sign * (task.shard.stop - task.shard.start)

    def lost_on(self, task: Task) -> frozenset[str]:
        """The hosts that lost a task."""
        return frozenset(self._lost_on.get(task, ()))

    def take(self, task: Task) -> None:
        """Record that a task is given out."""
        self._waiting.remove(task)
        self.in_flight += 1
        self._count(task, -1)

    def give_back(self, task: Task, host: str, *, again: bool, is_lost: bool) -> None:
        """Record that a task has ended; with `again` it waits once more, first in the queue."""
        self.in_flight -= 1
        self._ended += not again
        self.has_begun |= not again
        if again:
            self._waiting.appendleft(task)
            self._count(task, 1)
        if again and is_lost:
            self._lost_on.setdefault(task, set()).add(host)
        elif not again:
            self._lost_on.pop(task, None)

    def restart(self, tasks: Iterator[Task]) -> None:
        """Start again with these tasks, on any host."""
        self._tasks, self.affinity, self.stuck_s, self.has_begun = tasks, None, None, False
        self.restarts, self._ended, self._is_whole = self.restarts + 1, 0, True
        self._waiting.clear()
        self._lost_on.clear()
        self.left_images = Counter(self.all_images)
