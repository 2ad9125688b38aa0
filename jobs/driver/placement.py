"""Placement: which task goes to which host, and which blocks no host can take.

Cells whose latencies are compared are bound to one host by its name, for all rounds: a node that
joins again after its link was cut is the same host. If it stays away, the fault policy restarts
them on another. Of several hosts that may take a task, `division` says which should.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from jobs.driver.block_queue import BlockQueue, IsHeld, IsOver, holds_nothing
from jobs.driver.division import Division, SlowBlock
from jobs.driver.in_flight import InFlight
from jobs.driver.pace import Shown, count_images
from jobs.machine.devices import ANY, CUDA
from jobs.machine.slots import Host, Slot
from jobs.plan.order import CellBlock
from jobs.plan.task import Task


@dataclass(frozen=True)
class Stuck:
    """A block that no host can take now.

    Attributes:
        block: the block.
        reason: text for the user.
        is_new: whether it was not stuck before.
        waited_s: how long it has been stuck.
        can_move: whether another host could take it.
        has_nothing: whether no task of it is done on its host, or that host is set aside: nothing
            is lost by moving.
    """

    block: CellBlock
    reason: str
    is_new: bool
    waited_s: float
    can_move: bool
    has_nothing: bool


class Placement:
    """Hands out tasks with slots for them.

    Args:
        queued: blocks, each with its tasks, in order of priority.
        affinities: the host of each block that has begun.
        resolved: the devices that `any` and `cuda` are resolved to, if known.
        clock: seconds; a fake one in tests.
        done: images that are committed, by cell.
        shown: what hosts have shown in earlier parts of the run.
        is_task_held: whether a task, and those behind it, must wait.
    """

    def __init__(
        self,
        queued: Iterable[tuple[CellBlock, Iterator[Task]]],
        affinities: Mapping[CellBlock, str] | None = None,
        resolved: Mapping[str, str] | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        done: Mapping[str, int] | None = None,
        shown: Iterable[Shown] = (),
        is_task_held: IsHeld = holds_nothing,
    ) -> None:
        affinities = affinities or {}
        self._queues = {
            block: BlockQueue(
                block,
                tasks,
                affinities.get(block),
                count_images(block, {}),
                count_images(block, done) if done else None,
                is_task_held=is_task_held,
            )
            for block, tasks in queued
        }
        self._resolved = dict(resolved or {})
        self._clock = clock
        self._hosts: dict[str, Host] = {}
        self._in_flight: dict[str, InFlight] = {}
        self._given: dict[Task, tuple[BlockQueue, InFlight]] = {}
        self._aside: set[str] = set()
        self._able: dict[BlockQueue, list[Host]] = {}
        self._shared: dict[str, list[BlockQueue]] = {}
        self._division = Division(
            list(self._queues.values()),
            self._in_flight,
            self._candidates,
            self._resolved,
            self._clock,
        )
        for each in shown:
            self._division.paces.observe(each.host, each.sort, each.images, each.seconds)

    @property
    def is_timing_here(self) -> bool:
        """Whether a timed task runs on the driver's own machine."""
        return any(there.is_timing and there.host.is_here for there in self._in_flight.values())

    @property
    def is_host_here(self) -> bool:
        """Whether the driver's own machine takes tasks."""
        return any(host.is_here for host in self._hosts.values())

    def is_done(self, is_over: IsOver) -> bool:
        """Whether no task is in flight and no task waits."""
        return not self._given and not any(q.has_more(is_over) for q in self._queues.values())

    def update_hosts(self, hosts: Sequence[Host]) -> None:
        """Set the hosts that are available now."""
        before, self._hosts = self._hosts, {host.name: host for host in hosts}
        if before == self._hosts:
            return
        for name, host in self._hosts.items():
            if name in self._in_flight:
                self._in_flight[name].host = host
            else:
                self._in_flight[name] = InFlight(host)
        for name, there in self._in_flight.items():
            there.is_there = name in self._hosts
        self._renew()

    def take(self, is_over: IsOver, held: Collection[str] = ()) -> tuple[Task, Slot] | None:
        """The next task that may start now, and its slot; None if none may.

        Args:
            is_over: whether a cell needs no more tasks.
            held: hosts that get only tasks which other hosts lost, while there are others.
        """
        able = [there for name in self._hosts if not (there := self._in_flight[name]).is_shut]
        able.sort(key=lambda there: there.load)
        # With nothing in flight nothing would change what a host is given: then none waits. Nor
        # while hosts are held back: work that should go there would wait for them.
        for is_patient in (True, False):
            if held if is_patient else self._given and not held:
                continue
            for there in able:
                if found := self._take_for(there, is_over, held, is_patient=is_patient):
                    return found
        return None

    @property
    def in_flight(self) -> int:
        """The number of tasks in flight."""
        return len(self._given)

    def slot(self, task: Task) -> Slot:
        """The slot of a task in flight."""
        return self._given[task][1].slot(task)

    def can_go_elsewhere(self, task: Task) -> bool:
        """Whether a host that has not lost a task in flight could take it.

        False for a task of a block that one host must take whole.
        """
        queue, there = self._given[task]
        lost_on = queue.lost_on(task) | {there.host.name}
        return queue.affinity is None and any(
            host.name not in lost_on for host in self._candidates(queue)
        )

    def can_move(self, block: CellBlock) -> bool:
        """Whether a host other than its own could take a block."""
        if block.is_immovable:
            return False
        queue = self._queues[block]
        return any(host.name != queue.affinity for host in self._candidates(queue))

    def is_idle(self, block: CellBlock, is_over: IsOver) -> bool:
        """Whether no task of a block is in flight, and none waits."""
        queue = self._queues[block]
        return not queue.in_flight and not queue.has_more(is_over)

    def is_in_flight(self, block: CellBlock) -> bool:
        """Whether a task of a block is in flight."""
        return bool(self._queues[block].in_flight)

    def can_spare(self, host: str, is_over: IsOver) -> bool:
        """Whether other hosts can take all remaining tasks that a host could take."""
        left = [q for q in self._queues.values() if q.in_flight or q.has_more(is_over)]
        if any(queue.block.is_immovable and queue.affinity == host for queue in left):
            return False
        able = [{other.name for other in self._candidates(queue)} for queue in left]
        return all(names - {host} for names in able if host in names)

    def set_aside(self, host: str) -> None:
        """Give a host no more tasks."""
        self._aside.add(host)
        self._renew()

    def slow_blocks(self, blocks: Iterable[CellBlock]) -> list[SlowBlock]:
        """Which of these blocks have begun on a host that is much slower than another."""
        return self._division.slow_blocks(blocks)

    def has_just_begun(self, block: CellBlock) -> bool:
        """Whether only the first task of a timed block has ended: it may still leave its host."""
        return block.is_timed and self._queues[block].is_first_ended

    def show(self, task: Task, busy_s: float) -> None:
        """Record that a task in flight is completed, and the seconds that it took."""
        self._division.observe(self._given[task][1].host.name, task, busy_s)

    def give_back(self, task: Task, *, again: bool = False, is_lost: bool = True) -> None:
        """Free the slot of a task that has ended.

        Args:
            task: the task.
            again: whether it is to run again, first in its queue.
            is_lost: whether another host, if there is one, should then take it.
        """
        queue, there = self._given.pop(task)
        queue.give_back(task, there.host.name, again=again, is_lost=is_lost)
        there.end(task, self._clock())
        self._division.change(queue)

    def restart(self, block: CellBlock, tasks: Iterator[Task], avoided: str | None = None) -> None:
        """Restart a block with these tasks, on any host that it does not avoid."""
        queue = self._queues[block]
        queue.restart(tasks)
        queue.avoided |= {avoided} if avoided else set()
        self._division.unbind(queue)
        self._division.change(queue)
        self._renew()

    def stuck(self, is_over: IsOver) -> list[Stuck]:
        """The blocks with waiting tasks that no host can take now, and with none in flight."""
        now_s = self._clock()
        found = []
        for queue in self._queues.values():
            able = self._candidates(queue)
            is_served = any(queue.affinity in (None, host.name) for host in able)
            if is_served or queue.in_flight or not queue.has_more(is_over):
                queue.stuck_s = None
                continue
            is_new = queue.stuck_s is None
            queue.stuck_s = now_s if queue.stuck_s is None else queue.stuck_s
            found.append(
                Stuck(
                    queue.block,
                    self._describe(queue, able),
                    is_new=is_new,
                    waited_s=now_s - queue.stuck_s,
                    can_move=bool(able) and not queue.block.is_immovable,
                    has_nothing=not queue.has_begun or queue.affinity in self._aside,
                )
            )
        return found

    def _take_for(
        self, there: InFlight, is_over: IsOver, held: Collection[str], *, is_patient: bool
    ) -> tuple[Task, Slot] | None:
        """The next task for a host; a patient one leaves to others what they end sooner."""
        host = there.host
        for queue in self._queues_for(host, is_patient=is_patient):
            if queue.affinity not in (None, host.name) or not self._suits(queue, host):
                continue
            if not queue.has_more(is_over):
                continue
            if is_patient and not self._division.can_mean(queue.block.device, host):
                continue
            others = (
                []
                if queue.affinity
                else [each.name for each in self._candidates(queue) if each != host]
            )
            task = queue.first(host.name, others, is_over, is_held=host.name in held)
            if task is None:
                continue
            device = host.device(self._resolved.get(task.device, task.device)) or task.device
            if not there.has_room(task, device):
                if task.is_timed:
                    return None  # the host gets no other task until it is empty
                continue  # another device of the host may be free
            is_free = is_patient and not task.is_timed and not queue.lost_on(task)
            if is_free and self._division.leaves_to_others(host.name, queue, task):
                continue
            return self._give(task, queue, there, device)
        return None

    def _give(
        self, task: Task, queue: BlockQueue, there: InFlight, device: str
    ) -> tuple[Task, Slot]:
        """Give a task to a host."""
        host = there.host
        is_meant = task.device not in (ANY, CUDA) or task.device in self._resolved
        if host.devices is not None and not is_meant:
            self._resolved[task.device] = device
            self._renew()
        if queue.block.is_timed and queue.affinity is None:
            self._division.bind(queue, host.name)
            queue.affinity = host.name
        queue.take(task)
        self._division.change(queue)
        self._given[task] = queue, there
        return task, there.begin(task, device, self._division.work_of(task), self._clock())

    def _queues_for(self, host: Host, *, is_patient: bool) -> list[BlockQueue]:
        """The queues that a host may get tasks of, in the order in which it should."""
        if host.name not in self._shared:
            suited = [queue for queue in self._queues.values() if self._suits(queue, host)]
            self._shared[host.name] = [q for q in suited if not q.block.is_timed]
        shared = self._shared[host.name]
        if not is_patient:
            return [*shared, *(q for q in self._queues.values() if self._suits(q, host))]
        found = [*shared, *self._division.blocks_of(host)]
        late = [queue for queue in found if self._division.is_deferred(queue.block.device)]
        return [*(q for q in found if q not in late), *late] if late else found

    def _renew(self) -> None:
        """Forget which host may take what."""
        self._able.clear()
        self._shared.clear()
        self._division.renew()

    def _suits(self, queue: BlockQueue, host: Host) -> bool:
        """Whether a host has the device of a block, and may get its tasks."""
        if host.name in self._aside or host.name in queue.avoided:
            return False
        asked = queue.block.device
        return asked is None or host.device(self._resolved.get(asked, asked)) is not None

    def _candidates(self, queue: BlockQueue) -> list[Host]:
        if queue not in self._able:
            self._able[queue] = [host for host in self._hosts.values() if self._suits(queue, host)]
        return self._able[queue]

    def _describe(self, queue: BlockQueue, able: Sequence[Host]) -> str:
        asked = queue.block.device or ANY
        device = self._resolved.get(asked, asked)
        cells = len(queue.block.cells)
        what = f"{cells} cell{'s' if cells > 1 else ''} of device {device}"
        has = sorted({name for host in self._hosts.values() for name in host.devices or ()})
        there = f"registered now: {', '.join(has) or 'nothing'}"
        if self._aside:
            there += f"; set aside: {', '.join(sorted(self._aside))}"
        state = "set aside" if queue.affinity in self._aside else "gone"
        host = f"node {queue.affinity}, which is {state}"
        if able and queue.block.is_immovable:
            return (
                f"{what} were timed on {host}, and added cells or rounds must be timed there too;"
                f" {there}"
            )
        if able and not queue.has_begun:
            return f"{what} were about to begin on {host}; {there}"
        if able:
            return f"{what} began on {host}; {there}"
        if queue.affinity:
            return f"{what} began on {host}, and no other node has this device; {there}"
        return f"{what}: no node has it; {there}"
