"""The placement: which task goes to which place, and what happens where there is none for it.

Cells that are to be compared by the clock are bound to one place by its name, for all rounds: a
node that comes back after its link was cut is the same place. One that stays away loses them: what
they have is dropped, and they start anew elsewhere, since rounds of two machines must not mix.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from jobs.device import ANY, CUDA
from jobs.lane import Lane
from jobs.order import Block
from jobs.places import Place, Spot
from jobs.task import Task

WAIT_S = 600.0
"""How long cells wait for a device that no node has, unless told otherwise."""

GRACE_S = 60.0
"""How long timed cells wait for their own machine where another could take them: enough for a node
that was cut off to be declared dead, and to join again."""

IsOver = Callable[[str], bool]
"""Whether a cell needs no more tasks."""


@dataclass(frozen=True)
class Stuck:
    """A block that no place can take now.

    Attributes:
        block: which one.
        told: what to say of it.
        is_new: it was not stuck before.
        is_moving: its place is gone for good, and it starts anew elsewhere.
        is_failed: it has waited long enough.
    """

    block: Block
    told: str
    is_new: bool = False
    is_moving: bool = False
    is_failed: bool = False


class _Queue:
    """The tasks of a block: waiting, in flight, and where they must go."""

    def __init__(self, block: Block, tasks: Iterator[Task], home: str | None) -> None:
        self.block = block
        self.home = home
        self.in_flight = 0
        self.stuck_s: float | None = None
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

    def first(self, place: str, others: Collection[str]) -> Task | None:
        """The first task for a place: not one that was lost there, while there are others."""
        for task in self._waiting:
            if place not in self._spoilt.get(task, ()) or not others:
                return task
        return None

    def take(self, task: Task) -> None:
        """A task goes."""
        self._waiting.remove(task)
        self.in_flight += 1

    def give_back(self, task: Task, place: str, *, again: bool) -> None:
        """A task has come back."""
        self.in_flight -= 1
        if again:
            self._waiting.appendleft(task)
            self._spoilt.setdefault(task, set()).add(place)
        else:
            self._spoilt.pop(task, None)

    def restart(self, tasks: Iterator[Task]) -> None:
        """All over again, wherever there is a place."""
        self._tasks, self.home, self.stuck_s = tasks, None, None
        self._waiting.clear()
        self._spoilt.clear()


class Placement:
    """Hands out tasks with spots for them.

    Args:
        queued: blocks, each with its tasks, in order of precedence.
        homes: of blocks that have begun, the place that has them.
        meant: what `any` and `cuda` have turned out to be, where that is known.
        wait_s: after which a block without a place fails.
        clock: seconds; a fake one in tests.
    """

    def __init__(
        self,
        queued: Iterable[tuple[Block, Iterator[Task]]],
        homes: Mapping[Block, str] | None = None,
        meant: Mapping[str, str] | None = None,
        wait_s: float = WAIT_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        homes = homes or {}
        self._queues = [_Queue(block, tasks, homes.get(block)) for block, tasks in queued]
        self._meant = dict(meant or {})
        self._wait_s = wait_s
        self._clock = clock
        self._places: dict[str, Place] = {}
        self._lanes: dict[str, Lane] = {}
        self._given: dict[Task, tuple[_Queue, Lane]] = {}

    @property
    def is_timing_here(self) -> bool:
        """Whether the driver's own machine is under the clock."""
        return any(lane.is_timing and lane.place.is_here for lane in self._lanes.values())

    def is_done(self, is_over: IsOver) -> bool:
        """Whether nothing is in flight and nothing waits."""
        return not self._given and not any(queue.has_more(is_over) for queue in self._queues)

    def see(self, places: Sequence[Place]) -> None:
        """These are there now."""
        self._places = {place.name: place for place in places}
        for name, place in self._places.items():
            if name in self._lanes:
                self._lanes[name].place = place
            else:
                self._lanes[name] = Lane(place)

    def take(self, is_over: IsOver) -> tuple[Task, Spot] | None:
        """The next task that may start now, and where; None where none may."""
        lanes = [self._lanes[name] for name in self._places]
        for lane in sorted(lanes, key=lambda lane: lane.in_flight / lane.place.capacity):
            if found := self._take_for(lane, is_over):
                return found
        return None

    def give_back(self, task: Task, *, again: bool = False) -> None:
        """A task has ended; `again` puts it first in its queue."""
        queue, lane = self._given.pop(task)
        queue.give_back(task, lane.place.name, again=again)
        lane.end(task)

    def restart(self, block: Block, tasks: Iterator[Task]) -> None:
        """A block starts anew, wherever there is a place."""
        next(queue for queue in self._queues if queue.block == block).restart(tasks)

    def stuck(self, is_over: IsOver) -> list[Stuck]:
        """The blocks that no place can take now and of which nothing is in flight."""
        now_s = self._clock()
        found = []
        for queue in self._queues:
            able = [place for place in self._places.values() if self._can(queue, place)]
            is_served = any(queue.home in (None, place.name) for place in able)
            if is_served or queue.in_flight or not queue.has_more(is_over):
                queue.stuck_s = None
                continue
            is_new = queue.stuck_s is None
            queue.stuck_s = now_s if queue.stuck_s is None else queue.stuck_s
            waited_s = now_s - queue.stuck_s
            can_move = bool(able) and not queue.block.is_bound
            found.append(
                Stuck(
                    queue.block,
                    self._wording(queue, able),
                    is_new=is_new,
                    is_moving=can_move and waited_s >= min(GRACE_S, self._wait_s),
                    is_failed=not can_move and waited_s >= self._wait_s,
                )
            )
        return found

    def _take_for(self, lane: Lane, is_over: IsOver) -> tuple[Task, Spot] | None:
        place = lane.place
        for queue in self._queues:
            if queue.home not in (None, place.name) or not queue.has_more(is_over):
                continue
            if not self._can(queue, place):
                continue
            others = [p.name for p in self._places.values() if p != place and self._can(queue, p)]
            task = queue.first(place.name, [] if queue.home else others)
            if task is None:
                continue
            device = place.device(self._meant.get(task.device, task.device)) or task.device
            if not lane.has_room(task, device):
                if task.is_timed:
                    return None  # nothing more until it is empty
                continue  # another device of it may be free
            if place.devices is not None and task.device in (ANY, CUDA):
                self._meant.setdefault(task.device, device)
            if queue.block.is_timed:
                queue.home = place.name
            queue.take(task)
            self._given[task] = queue, lane
            return task, lane.begin(task, device)
        return None

    def _can(self, queue: _Queue, place: Place) -> bool:
        """Whether a place has the device of a block."""
        asked = queue.block.device
        return asked is None or place.device(self._meant.get(asked, asked)) is not None

    def _wording(self, queue: _Queue, able: Sequence[Place]) -> str:
        asked = queue.block.device or ANY
        device = self._meant.get(asked, asked)
        cells = len(queue.block.cells)
        what = f"{cells} cell{'s' if cells > 1 else ''} of device {device}"
        has = sorted({name for place in self._places.values() for name in place.devices or ()})
        there = f"registered now: {', '.join(has) or 'nothing'}"
        if able and queue.block.is_bound:
            return (
                f"{what} were timed on node {queue.home}, which is gone, and what is added must be"
                f" timed there too; {there}"
            )
        if able:
            return f"{what} began on node {queue.home}, which is gone; {there}"
        if queue.home:
            return f"{what} began on node {queue.home}, which is gone, and no other has it; {there}"
        return f"{what}: no node has it; {there}"
