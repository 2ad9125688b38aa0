"""Division: which of several hosts should get work, so that all of it ends first.

By what each host has shown (`pace`): timed blocks go to the host that ends them first given what it
has, a task that hosts share is left to the others if they end all that waits before this host would
end it, and `any` becomes the device that ends its cells first. A host that has shown nothing gets
work like the fastest one, which shows its pace.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from jobs.driver.block_queue import BlockQueue
from jobs.driver.forecast import SOONER, BlockForecast, HostForecast, is_ended_sooner, part_blocks
from jobs.driver.in_flight import InFlight
from jobs.driver.pace import Paces, seconds_of, sort_of
from jobs.machine.devices import ANY, CUDA
from jobs.machine.slots import Host
from jobs.plan.order import CellBlock
from jobs.plan.task import Task

MOVE_GAIN = 1.1
"""A block leaves the host that began it only if another ends it so many times as early."""

MAX_RESTARTS = 2
"""A block that has begun anew so often stays where it is."""

NEWS = 1.25
"""Factor by which a host's pace must have changed for blocks to be parted anew."""

AMPLE = 2.0
"""How many times what other hosts could end by then must wait for a host to be given a task without
asking them again."""

COST = 4_000
"""Blocks times hosts that are parted anew per task that ends: so parting takes little of a run."""


@dataclass(frozen=True)
class SlowBlock:
    """A block that another host would end much sooner than the one that has begun it.

    Attributes:
        block: the block.
        host: the host that has begun it.
        faster: the other.
        left_s: seconds until its host would end it.
        moved_s: seconds until the other would.
    """

    block: CellBlock
    host: str
    faster: str
    left_s: float
    moved_s: float


class Division:
    """Divides work among hosts.

    Args:
        queues: all blocks.
        in_flight: the tasks on each host; kept by the caller.
        candidates: the hosts that may get tasks of a queue.
        resolved: the devices that `any` and `cuda` are; kept by the caller.
        clock: seconds.
    """

    def __init__(
        self,
        queues: Sequence[BlockQueue],
        in_flight: Mapping[str, InFlight],
        candidates: Callable[[BlockQueue], Sequence[Host]],
        resolved: Mapping[str, str],
        clock: Callable[[], float],
    ) -> None:
        self.paces = Paces()
        for queue in queues:
            self.paces.expect(queue.block.cells if queue.block.device else ())
        self._shared = [queue for queue in queues if not queue.block.is_timed]
        self._timed = [queue for queue in queues if queue.block.is_timed]
        self._in_flight, self._candidates = in_flight, candidates
        self._resolved, self._clock = resolved, clock
        self._bound: dict[str, list[BlockQueue]] = {}
        for queue in self._timed:
            if queue.affinity:
                self._bound.setdefault(queue.affinity, []).append(queue)
        self._planned: dict[str, list[BlockQueue]] = {}
        self._known: dict[str, float] = {}  # the paces of the latest parting
        self._is_news = True
        self._ended = self._waits = self._parted_at = 0
        self._possible: dict[str, dict[str, list[Host]]] = {}
        self._ample: dict[str, float] = {}
        self._works: dict[BlockQueue, tuple[int, float]] = {}
        self._loads: dict[str, HostForecast] = {}

    def renew(self) -> None:
        """Forget what was decided: hosts have come or gone, or blocks are to be done elsewhere."""
        self._is_news, self._waits = True, self._ended
        self._ample.clear()
        self._loads.clear()
        self._possible.clear()

    def bind(self, queue: BlockQueue, host: str) -> None:
        """Record that a host begins a block."""
        if queue.affinity is None:
            self._bound.setdefault(host, []).append(queue)
            for planned in self._planned.values():
                if queue in planned:
                    planned.remove(queue)

    def unbind(self, queue: BlockQueue) -> None:
        """Record that a block is to begin again, on any host."""
        for bound in self._bound.values():
            if queue in bound:
                bound.remove(queue)
        self.renew()

    def change(self, queue: BlockQueue) -> None:
        """Record that a task of a queue was given out, or has ended."""
        self._works.pop(queue, None)
        self._loads.clear()

    def observe(self, host: str, task: Task, busy_s: float) -> None:
        """Record that a host has completed a task."""
        images = task.shard.stop - task.shard.start
        self.paces.observe(host, sort_of(task), images, seconds_of(task, busy_s))
        self._ended += 1
        pace = self.paces.pace(host)
        if pace is None:
            return
        before = self._known.get(host)
        if before is None:
            self._known[host] = pace
            self._is_news = True
            self._ample.clear()
            self._loads.clear()
        elif not 1 / NEWS < pace / before < NEWS:
            self._is_news = True

    def work_of(self, task: Task) -> float:
        """Units of work of a task."""
        return self.paces.work({sort_of(task): task.shard.stop - task.shard.start})

    def blocks_of(self, host: Host) -> list[BlockQueue]:
        """The timed blocks that a host should work on, in order: first those that it has begun.

        A host that has shown nothing begins a small one, which soon tells its pace and costs little
        if it turns out slow. A host without any takes what one that has shown nothing should begin.
        Last come blocks for `any` or `cuda`, as long as these may become several devices.
        """
        # All of them: rounds that are added later are in none of the counts.
        bound = list(self._bound.get(host.name, ()))
        planned = self._part().get(host.name)
        is_free = not any(map(self._left, bound))
        if is_free and self.paces.pace(host.name) is None:
            planned = self._small(host)
        elif is_free and not planned and self._planned:
            if self._ended > self._parted_at:
                self._is_news = True  # others are to begin what this host could
            planned = self._part().get(host.name) or [
                queue
                for other, queues in self._planned.items()
                if self.paces.pace(other) is None
                for queue in queues
                if host in self._candidates(queue)
            ]
        if not any(self._possible.values()):
            return [*bound, *(planned or ())]
        unsettled = [
            q for q in self._timed if q.affinity is None and self._possible_devices(q.block.device)
        ]
        return [*bound, *(planned or ()), *(q for q in unsettled if host in self._candidates(q))]

    def _small(self, host: Host) -> list[BlockQueue]:
        """The blocks that a host could begin, the smallest first.

        Blocks that only it can take keep their order.
        """
        able = [queue for queue in self._timed if queue.affinity is None and self._left(queue)]
        able = [queue for queue in able if host in self._candidates(queue)]
        able = [queue for queue in able if not self._possible_devices(queue.block.device)]
        return sorted(able, key=lambda q: self._left(q) if len(self._candidates(q)) > 1 else 0.0)

    def leaves_to_others(self, host: str, queue: BlockQueue, task: Task) -> bool:
        """Whether other hosts end all shared tasks before a host would end this one."""
        able = self._candidates(queue)
        if self.paces.pace(host) is None:
            return False
        device = self._device(queue)
        work = self.work_of(task)
        left = sum(self._left(each) for each in self._shared if self._device(each) == device)
        if left > self._ample.get(device, math.inf):
            return False
        waiting = max(math.ceil(left / work - SOONER), 1)
        known = {each.name: self._load(each) for each in able if self.paces.pace(each.name)}
        latest_s = max(load.end_s(work) for load in known.values())
        most = sum(load.completes(work, latest_s) for load in known.values())
        self._ample[device] = max(AMPLE * most * work, left / AMPLE)
        others = [load for name, load in known.items() if name != host]
        return is_ended_sooner(waiting, work, known[host].end_s(work), others)

    def is_deferred(self, asked: str | None) -> bool:
        """Whether hosts should do all else before one gives `any` or `cuda` a meaning.

        Until every device that it may be has shown its pace.
        """
        devices = self._possible_devices(asked)
        return not all(self._is_known(hosts) for hosts in devices.values())

    def can_mean(self, asked: str | None, host: Host) -> bool:
        """Whether `any` or `cuda` should become a host's device: none ends its cells sooner.

        A device whose first tasks are under way is waited for as long as it may be the one. One
        that has nothing to do, and so shows nothing, is taken if its host looks as strong as those
        of the others.
        """
        devices = self._possible_devices(asked)
        if not devices:
            return True
        mine = host.device(str(asked))
        idle = [each for hosts in devices.values() if self._is_unused(hosts) for each in hosts]
        used = [each for hosts in devices.values() if not self._is_unused(hosts) for each in hosts]
        strongest = max(idle, key=_strength, default=None)
        if strongest and all(_strength(strongest) >= _strength(each) for each in used):
            return mine == strongest.device(str(asked))
        ends = {
            name: self._ends_s(str(asked), name, hosts)
            for name, hosts in devices.items()
            if not self._is_unused(hosts)
        }
        first = min(ends, key=ends.__getitem__)
        return mine == first and self._is_known(devices[first])

    def _is_known(self, hosts: Iterable[Host]) -> bool:
        """Whether one of a device's hosts has shown its pace."""
        return any(self.paces.pace(host.name) for host in hosts)

    def _is_unused(self, hosts: Iterable[Host]) -> bool:
        """Whether a device's hosts have done nothing and have nothing to do."""
        return not self._is_known(hosts) and not any(
            self._in_flight[host.name].in_flight for host in hosts
        )

    def slow_blocks(self, blocks: Iterable[CellBlock]) -> list[SlowBlock]:
        """Which of these blocks another host would end much sooner, though it has to begin anew.

        Only blocks whose first task has just ended: what it made need not be written.
        """
        asked = set(blocks)
        queues = [queue for queue in self._timed if queue.block in asked and self._may_move(queue)]
        if not queues:
            return []
        parted, hosts, loads = self._parted(queues)
        numbers = {name: number for number, name in enumerate(hosts)}
        found = []
        for queue, name in parted.items():
            if queue.affinity is None or name == queue.affinity or queue not in queues:
                continue
            now, other = loads[numbers[queue.affinity]], loads[numbers[name]]
            left_s = now.end_s(self._left(queue))
            moved_s = other.end_s(self.paces.work(queue.all_images))
            found.append(SlowBlock(queue.block, queue.affinity, name, left_s, moved_s))
        return found

    def _may_move(self, queue: BlockQueue) -> bool:
        """Whether a block may leave its host for a faster one."""
        if queue.affinity is None or queue.in_flight or queue.block.is_immovable:
            return False
        if not queue.is_first_ended or queue.restarts >= MAX_RESTARTS or not self._left(queue):
            return False
        able = [host.name for host in self._candidates(queue)]
        pace, others = self.paces.pace(queue.affinity), self.paces.fastest()
        is_slow = pace is not None and others is not None and pace > MOVE_GAIN * others
        has_more = len(self._bound.get(queue.affinity, ())) > 1
        return queue.affinity in able and (is_slow or has_more)

    def _part(self) -> dict[str, list[BlockQueue]]:
        """The blocks that each host should begin, the largest first."""
        if self._is_news and self._ended >= self._waits:
            parted, _, _ = self._parted([])
            self._planned = {}
            for queue, host in parted.items():
                self._planned.setdefault(host, []).append(queue)
            self._is_news, self._parted_at = False, self._ended
            self._planned = {host: queues for host, queues in self._planned.items() if queues}
            paces = {name: self.paces.pace(name) for name in self._in_flight}
            self._known = {name: pace for name, pace in paces.items() if pace}
            self._waits = self._ended + len(parted) * len(self._in_flight) // COST
            self._loads.clear()
        return self._planned

    def _parted(
        self, movable: Collection[BlockQueue]
    ) -> tuple[dict[BlockQueue, str], list[str], list[HostForecast]]:
        """Part all blocks that no host has begun, and those that may move."""
        free = [queue for queue in self._timed if queue.affinity is None and self._left(queue) > 0]
        asked = [*free, *movable]
        able = {queue: [host.name for host in self._candidates(queue)] for queue in asked}
        asked = [
            queue
            for queue in asked
            if able[queue] and not self._possible_devices(queue.block.device)
        ]
        hosts = list(dict.fromkeys(name for queue in asked for name in able[queue]))
        numbers = {name: number for number, name in enumerate(hosts)}
        loads = [self._forecast(name, without=movable) for name in hosts]
        forecasts = [
            BlockForecast(
                self.paces.work(queue.all_images) if queue in movable else self._left(queue),
                [numbers[name] for name in able[queue]],
                numbers[queue.affinity] if queue.affinity else None,
                self._left(queue),
            )
            for queue in asked
        ]
        found = part_blocks(forecasts, loads, MOVE_GAIN)
        order = sorted(range(len(asked)), key=lambda number: -forecasts[number].work)
        return {asked[n]: hosts[found[n]] for n in order}, hosts, loads

    def _load(self, host: Host) -> HostForecast:
        """What a host has before it, with the blocks that it should begin."""
        if host.name not in self._loads:
            load = self._forecast(host.name)
            planned = sum(self._left(queue) for queue in self._part().get(host.name, ()))
            self._loads[host.name] = HostForecast(
                load.free_s + planned * load.pace, load.pace, load.runs
            )
        return self._loads[host.name]

    def _forecast(self, name: str, without: Collection[BlockQueue] = ()) -> HostForecast:
        """What a host has before it: its tasks in flight and the blocks that it has begun."""
        there = self._in_flight[name]
        runs = max((there.host.runs(device) for device in there.host.devices or {"": 1}), default=1)
        now_s = self._clock()
        pace = self.paces.pace(name)
        if pace is None:
            pace = max(self.paces.fastest() or 1.0, there.slowest_pace(now_s))
        bound = sum(
            self._left(queue) for queue in self._bound.get(name, ()) if queue not in without
        )
        return HostForecast(there.free_s(pace, runs, now_s) + bound * pace, pace, runs)

    def _left(self, queue: BlockQueue) -> float:
        """Units of work of tasks that wait."""
        known = self._works.get(queue)
        if known is None or self._ended - known[0] > len(self._works):
            work = max(self.paces.work(queue.left_images), 0.0)
            known = self._works[queue] = self._ended, work
        return known[1]

    def _device(self, queue: BlockQueue) -> str:
        asked = queue.block.device or ANY
        return self._resolved.get(asked, asked)

    def _possible_devices(self, asked: str | None) -> dict[str, list[Host]]:
        """The devices that a name may become, with their hosts; empty if it is settled."""
        if asked not in (ANY, CUDA) or asked in self._resolved:
            return {}
        if asked not in self._possible:
            found: dict[str, list[Host]] = {}
            for there in self._in_flight.values():
                device = there.host.device(asked)
                if there.is_there and there.host.devices is not None and device:
                    found.setdefault(device, []).append(there.host)
            self._possible[asked] = found if len(found) > 1 else {}
        return self._possible[asked]

    def _ends_s(self, asked: str, device: str, hosts: Sequence[Host]) -> float:
        """Seconds until a device's hosts would end their own work and all that asks for a name."""
        left = sum(
            self._left(queue)
            for queue in (*self._shared, *self._timed)
            if queue.block.device == asked or (not queue.affinity and self._device(queue) == device)
        )
        loads = [self._forecast(host.name) for host in hosts]
        speed = sum(load.runs / load.pace for load in loads)
        return (left + sum(load.free_s * load.runs / load.pace for load in loads)) / speed


def _strength(host: Host) -> tuple[bool, int]:
    """What a host looks like before it has shown anything."""
    return host.has_gpu, host.capacity
