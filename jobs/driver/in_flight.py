"""Tasks in flight on one host; a timed task has the host to itself."""

from __future__ import annotations

from collections import Counter

from jobs.machine.slots import Host, Slot
from jobs.plan.task import Task


class InFlight:
    """Decides what may start on a host: untimed tasks up to its capacity, timed ones only alone."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self._slots: dict[Task, Slot] = {}

    @property
    def in_flight(self) -> int:
        """The number of tasks handed out that have not ended."""
        return len(self._slots)

    @property
    def is_timing(self) -> bool:
        """Whether one of them is timed."""
        return any(task.is_timed for task in self._slots)

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

    def begin(self, task: Task, device: str) -> Slot:
        """Start a task: on the least used of several equal devices, a timed one on the first."""
        used = Counter(slot.number for slot in self._slots.values() if slot.device == device)
        count = (self.host.devices or {}).get(device, 1)
        number = min(range(count), key=lambda n: used[n]) if self.host.has_gpu else 0
        self._slots[task] = Slot(self.host.name, device, number)
        return self._slots[task]

    def slot(self, task: Task) -> Slot:
        """The slot of a task."""
        return self._slots[task]

    def end(self, task: Task) -> None:
        """Free the slot of a task that has ended."""
        del self._slots[task]
