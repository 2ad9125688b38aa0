"""Hosts that an executor can give tasks to, and slots: one for each of their devices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from jobs.machine.devices import ANY, CUDA


@dataclass(frozen=True)
class Slot:
    """One device of one host.

    Attributes:
        host: its name.
        device: as the host has registered it.
        number: which of several equal devices, from 0.
    """

    host: str
    device: str
    number: int = 0


@dataclass(frozen=True)
class Host:
    """A machine.

    Attributes:
        name: its name in rows; stays the same when it leaves and joins again.
        capacity: untimed tasks that are worth having in flight there at once.
        devices: how many it has of each, by the name under which they are registered. None: it is
            the only host there is, and takes every device name of the grid.
        has_gpu: its devices are GPUs.
        is_here: it is the machine of the driver.
    """

    name: str
    capacity: int
    devices: Mapping[str, int] | None = None
    has_gpu: bool = False
    is_here: bool = True

    def device(self, asked: str) -> str | None:
        """The device of this host that a name of the grid stands for; None if it has none."""
        if self.devices is None or asked in self.devices:
            return asked
        if asked == ANY or (asked == CUDA and self.has_gpu):
            return next(iter(self.devices), None)
        return None

    def room(self, device: str) -> int:
        """Untimed tasks that may be in flight on devices of one name.

        That is one on each GPU, and one more whose images are sent meanwhile.
        """
        count = (self.devices or {}).get(device, 0)
        return min(self.capacity, 2 * count) if self.has_gpu and count else self.capacity
