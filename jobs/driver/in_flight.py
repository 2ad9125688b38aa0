"""Tasks in flight on one host; a timed task has the host to itself."""

from __future__ import annotations

from collections import Counter

from jobs.machine.slots import Host, Slot
from jobs.plan.task import Task


class InFlight:
    """Decides what may start on a host: untimed tasks up to its capacity, timed ones only alone.

    Attributes:
        host: the host, as it was last seen.
        is_there: whether it is available now.
    """

    def __init__(self, host: Host) -> None:
        self.host = host
        self.is_there = True
        self._slots: dict[Task, Slot] = {}
        self._works: dict[Task, float] = {}
        self._since_s = 0.0
        self._timed = 0

    @property
    def in_flight(self) -> int:
        """The number of tasks handed out that have not ended."""
        return len(self._slots)

    @property
    def is_timing(self) -> bool:
        """Whether one of them is timed."""
        return self._timed > 0

    @property
    def load(self) -> float:
        """The share of its capacity in use."""
        return self.in_flight / self.host.capacity

    @property
    def is_shut(self) -> bool:
        """Whether no task at all may start there now."""
        return self.load >= 1 or self.is_timing

    def has_room(self, task: Task, device: str) -> bool:
        """Whether a task may start on a device now."""
        if task.is_timed:
            return not self._slots
        beside = sum(slot.device == device for slot in self._slots.values())
        return not self.is_shut and beside < self.host.room(device)

    def free_s(self, pace: float, runs: int, now_s: float) -> float:
        """Seconds until its tasks have ended, if each unit of work takes so long there.

        A task that is late is expected to stay late as long again.

        Args:
            pace: seconds per unit of work.
            runs: number of tasks that run at once.
            now_s: the time.
        """
        works = list(self._works.values())
        if not works:
            return 0.0
        running = works[:runs]
        ran_s, first_s = now_s - self._since_s, pace * max(running)
        left_s = pace * sum(works) - len(running) * min(ran_s, first_s)
        return max(left_s, 0.0) / len(running) + max(ran_s - first_s, 0.0)

    def slowest_pace(self, now_s: float) -> float:
        """The least that its pace can be, by the time that its oldest task has taken already."""
        oldest = next(iter(self._works.values()), 0.0)
        return (now_s - self._since_s) / oldest if oldest else 0.0

    def begin(self, task: Task, device: str, work: float = 1.0, now_s: float = 0.0) -> Slot:
        """Start a task: on the least used of several equal devices, a timed one on the first.

        Args:
            task: the task.
            device: one of the host's names.
            work: units of work that it is.
            now_s: the time.
        """
        if not self._works:
            self._since_s = now_s
        self._works[task] = work
        self._timed += task.is_timed
        used = Counter(slot.number for slot in self._slots.values() if slot.device == device)
        count = (self.host.devices or {}).get(device, 1)
        number = min(range(count), key=lambda n: used[n]) if self.host.has_gpu else 0
        self._slots[task] = Slot(self.host.name, device, number)
        return self._slots[task]

    def slot(self, task: Task) -> Slot:
        """The slot of a task."""
        return self._slots[task]

    def end(self, task: Task, now_s: float = 0.0) -> None:
        """Free the slot of a task that has ended."""
        del self._slots[task], self._works[task]
        self._timed -= task.is_timed
        self._since_s = now_s
