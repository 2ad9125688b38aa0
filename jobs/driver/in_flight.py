"""Tasks in flight on one host; a timed task has the host to itself."""

from __future__ import annotations

from collections import Counter

from jobs.machine.slots import Host, Slot
from jobs.plan.task import Task


class Lane:
    """Says what may start on a place: untimed tasks up to its room, a timed one only by itself.

    Args:
        place: the machine.
    """

    def __init__(self, place: Host) -> None:
        self.place = place
        self._spots: dict[Task, Slot] = {}

    @property
    def in_flight(self) -> int:
        """Tasks handed out and not yet taken back."""
        return len(self._spots)

    @property
    def is_timing(self) -> bool:
        """Whether one of them is under the clock."""
        return any(task.is_timed for task in self._spots)

    @property
    def load(self) -> float:
        """The share of its room that is taken."""
        return self.in_flight / self.place.capacity

    @property
    def is_shut(self) -> bool:
        """Whether nothing at all may start there now."""
        return self.load >= 1 or self.is_timing

    def has_room(self, task: Task, device: str) -> bool:
        """Whether a task may start on a device now."""
        if task.is_timed:
            return not self._spots
        beside = sum(spot.device == device for spot in self._spots.values())
        return not self.is_shut and beside < self.place.room(device)

    def begin(self, task: Task, device: str) -> Slot:
        """A task starts: of several equal devices on the least used, a timed one on the first."""
        used = Counter(spot.number for spot in self._spots.values() if spot.device == device)
        count = (self.place.devices or {}).get(device, 1)
        number = min(range(count), key=lambda n: used[n]) if self.place.has_gpu else 0
        self._spots[task] = Slot(self.place.name, device, number)
        return self._spots[task]

    def spot(self, task: Task) -> Slot:
        """Where a task runs."""
        return self._spots[task]

    def end(self, task: Task) -> None:
        """A task has ended."""
        del self._spots[task]
