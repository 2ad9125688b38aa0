"""Placement: which task goes to which host, and what happens if no host can take it.

Cells that are to be compared by the clock are bound to one place by its name, for all rounds: a
node that comes back after its link was cut is the same place. One that stays away loses them: what
they have is dropped, and they start anew elsewhere, since rounds of two machines must not mix.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from jobs.driver.block_queue import BlockQueue, IsOver
from jobs.driver.in_flight import Lane
from jobs.machine.devices import ANY, CUDA
from jobs.machine.slots import Host, Slot
from jobs.plan.order import CellBlock
from jobs.plan.task import Task

WAIT_S = 600.0
"""How long cells wait for a device that no node has, unless told otherwise."""

GRACE_S = 60.0
"""How long timed cells wait for their own machine where another could take them: enough for a node
that was cut off to be declared dead, and to join again."""


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

    block: CellBlock
    told: str
    is_new: bool = False
    is_moving: bool = False
    is_failed: bool = False


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
        queued: Iterable[tuple[CellBlock, Iterator[Task]]],
        homes: Mapping[CellBlock, str] | None = None,
        meant: Mapping[str, str] | None = None,
        wait_s: float = WAIT_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        homes = homes or {}
        self._queues = {
            block: BlockQueue(block, tasks, homes.get(block)) for block, tasks in queued
        }
        self._meant = dict(meant or {})
        self._wait_s = wait_s
        self._clock = clock
        self._places: dict[str, Host] = {}
        self._lanes: dict[str, Lane] = {}
        self._given: dict[Task, tuple[BlockQueue, Lane]] = {}
        self._aside: set[str] = set()

    @property
    def is_timing_here(self) -> bool:
        """Whether the driver's own machine is under the clock."""
        return any(lane.is_timing and lane.place.is_here for lane in self._lanes.values())

    def is_done(self, is_over: IsOver) -> bool:
        """Whether nothing is in flight and nothing waits."""
        return not self._given and not any(q.has_more(is_over) for q in self._queues.values())

    def see(self, places: Sequence[Host]) -> None:
        """These are there now."""
        self._places = {place.name: place for place in places}
        for name, place in self._places.items():
            if name in self._lanes:
                self._lanes[name].place = place
            else:
                self._lanes[name] = Lane(place)

    def take(self, is_over: IsOver, held: Collection[str] = ()) -> tuple[Task, Slot] | None:
        """The next task that may start now, and where; None where none may.

        Args:
            is_over: of a cell.
            held: places that get no task, while there are others, but those lost elsewhere.
        """
        lanes = [lane for name in self._places if not (lane := self._lanes[name]).is_shut]
        for lane in sorted(lanes, key=lambda lane: lane.load):
            if found := self._take_for(lane, is_over, held):
                return found
        return None

    @property
    def in_flight(self) -> int:
        """How many tasks are."""
        return len(self._given)

    def where(self, task: Task) -> Slot:
        """Where a task in flight is."""
        return self._given[task][1].spot(task)

    def can_go_elsewhere(self, task: Task) -> bool:
        """Whether a task in flight, if it is lost, has a place where it was not lost yet.

        One of a block that a machine must take whole has none.
        """
        queue, lane = self._given[task]
        spoilt = queue.spoilt(task) | {lane.place.name}
        return queue.home is None and any(p.name not in spoilt for p in self._able(queue))

    def can_move(self, block: CellBlock) -> bool:
        """Whether another place than its home could take a block."""
        if block.is_bound:
            return False
        queue = self._queues[block]
        return any(place.name != queue.home for place in self._able(queue))

    def is_idle(self, block: CellBlock, is_over: IsOver) -> bool:
        """Whether nothing of a block is in flight, and nothing waits."""
        queue = self._queues[block]
        return not queue.in_flight and not queue.has_more(is_over)

    def is_flying(self, block: CellBlock) -> bool:
        """Whether something of a block is in flight."""
        return bool(self._queues[block].in_flight)

    def can_spare(self, place: str, is_over: IsOver) -> bool:
        """Whether all that is left for a place can be done elsewhere."""
        left = [q for q in self._queues.values() if q.in_flight or q.has_more(is_over)]
        if any(queue.block.is_bound and queue.home == place for queue in left):
            return False
        able = [{other.name for other in self._able(queue)} for queue in left]
        return all(names - {place} for names in able if place in names)

    def set_aside(self, place: str) -> None:
        """A place gets no more tasks."""
        self._aside.add(place)

    def give_back(self, task: Task, *, again: bool = False, is_spoilt: bool = True) -> None:
        """A task has ended.

        Args:
            task: which.
            again: it goes first in its queue.
            is_spoilt: and to another place, where there is one.
        """
        queue, lane = self._given.pop(task)
        queue.give_back(task, lane.place.name, again=again, is_spoilt=is_spoilt)
        lane.end(task)

    def restart(self, block: CellBlock, tasks: Iterator[Task], avoided: str | None = None) -> None:
        """A block starts anew, wherever there is a place, but for one that it avoids."""
        queue = self._queues[block]
        queue.restart(tasks)
        queue.avoided |= {avoided} if avoided else set()

    def stuck(self, is_over: IsOver) -> list[Stuck]:
        """The blocks that no place can take now and of which nothing is in flight."""
        now_s = self._clock()
        found = []
        for queue in self._queues.values():
            able = self._able(queue)
            is_served = any(queue.home in (None, place.name) for place in able)
            if is_served or queue.in_flight or not queue.has_more(is_over):
                queue.stuck_s = None
                continue
            is_new = queue.stuck_s is None
            queue.stuck_s = now_s if queue.stuck_s is None else queue.stuck_s
            waited_s = now_s - queue.stuck_s
            can_move = bool(able) and not queue.block.is_bound
            is_lost = not queue.has_begun or queue.home in self._aside
            found.append(
                Stuck(
                    queue.block,
                    self._wording(queue, able),
                    is_new=is_new,
                    is_moving=can_move and (is_lost or waited_s >= min(GRACE_S, self._wait_s)),
                    is_failed=not can_move and waited_s >= self._wait_s,
                )
            )
        return found

    def _take_for(
        self, lane: Lane, is_over: IsOver, held: Collection[str]
    ) -> tuple[Task, Slot] | None:
        place = lane.place
        for queue in self._queues.values():
            if queue.home not in (None, place.name) or not self._can(queue, place):
                continue
            if not queue.has_more(is_over):
                continue
            others = [] if queue.home else [p.name for p in self._able(queue) if p != place]
            task = queue.first(place.name, others, is_over, is_held=place.name in held)
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

    def _can(self, queue: BlockQueue, place: Host) -> bool:
        """Whether a place has the device of a block, and may be given work of it."""
        if place.name in self._aside or place.name in queue.avoided:
            return False
        asked = queue.block.device
        return asked is None or place.device(self._meant.get(asked, asked)) is not None

    def _able(self, queue: BlockQueue) -> list[Host]:
        return [place for place in self._places.values() if self._can(queue, place)]

    def _wording(self, queue: BlockQueue, able: Sequence[Host]) -> str:
        asked = queue.block.device or ANY
        device = self._meant.get(asked, asked)
        cells = len(queue.block.cells)
        what = f"{cells} cell{'s' if cells > 1 else ''} of device {device}"
        has = sorted({name for place in self._places.values() for name in place.devices or ()})
        there = f"registered now: {', '.join(has) or 'nothing'}"
        if self._aside:
            there += f"; set aside: {', '.join(sorted(self._aside))}"
        lost = "set aside" if queue.home in self._aside else "gone"
        if able and queue.block.is_bound:
            return (
                f"{what} were timed on node {queue.home}, which is {lost}, and what is added must"
                f" be timed there too; {there}"
            )
        if able and not queue.has_begun:
            return f"{what} were about to begin on node {queue.home}, which is {lost}; {there}"
        if able:
            return f"{what} began on node {queue.home}, which is {lost}; {there}"
        if queue.home:
            return (
                f"{what} began on node {queue.home}, which is {lost}, and no other has it; {there}"
            )
        return f"{what}: no node has it; {there}"
