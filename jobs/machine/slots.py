"""Places: the machines that an executor can give tasks to, and the spots on them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from jobs.machine.devices import ANY, CUDA


@dataclass(frozen=True)
class Slot:
    """One device of one place.

    Attributes:
        place: its name.
        device: as the place has registered it.
        number: which one of several equal ones, from 0.
    """

    place: str
    device: str
    number: int = 0


@dataclass(frozen=True)
class Host:
    """A machine.

    Attributes:
        name: what rows call it; stays the same when it leaves and comes back.
        capacity: untimed tasks that are worth having in flight there at once.
        devices: how many it has of each, by the name under which they are registered. None: it is
            the only place there is, and every name of the grid means something on it.
        has_gpu: its devices are GPUs.
        is_here: it is the machine of the driver.
    """

    name: str
    capacity: int
    devices: Mapping[str, int] | None = None
    has_gpu: bool = False
    is_here: bool = True

    def device(self, asked: str) -> str | None:
        """Which of its devices answers to a name of the grid; None where none does."""
        if self.devices is None or asked in self.devices:
            return asked
        if asked == ANY or (asked == CUDA and self.has_gpu):
            return next(iter(self.devices), None)
        return None

    def room(self, device: str) -> int:
        """How many untimed tasks may be in flight on one of its devices: one on each GPU, and one
        more whose images travel meanwhile.
        """
        count = (self.devices or {}).get(device, 0)
        return min(self.capacity, 2 * count) if self.has_gpu and count else self.capacity
