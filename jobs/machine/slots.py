"""Hosts that an executor can give tasks to, and slots: one per device of a host."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from jobs.machine.devices import ANY, CUDA


@dataclass(frozen=True)
class Slot:
    """One device of one host.

    Attributes:
        host: name of the host.
        device: the name under which the host has registered it.
        number: index among several equal devices, from 0.
    """

    host: str
    device: str
    number: int = 0


@dataclass(frozen=True)
class Host:
    """A machine that runs tasks.

    Attributes:
        name: its name in rows; stays the same when it leaves the cluster and joins again.
        capacity: useful number of untimed tasks in flight there at once.
        devices: number of devices by registered name. None: it is the only host, and accepts every
            device name of the grid.
        has_gpu: its devices are GPUs.
        is_here: the driver runs on it.
    """

    name: str
    capacity: int
    devices: Mapping[str, int] | None = None
    has_gpu: bool = False
    is_here: bool = True

    def device(self, asked: str) -> str | None:
        """Return this host's device for a name in the grid; None if it has none."""
        if self.devices is None or asked in self.devices:
            return asked
        if asked == ANY or (asked == CUDA and self.has_gpu):
            return next(iter(self.devices), None)
        return None

    def room(self, device: str) -> int:
        """Return how many untimed tasks may be in flight on devices of one name.

        For GPUs that is two per GPU, at most `capacity`: one runs while the next one's images
        travel.
        """
        count = (self.devices or {}).get(device, 0)
        return min(self.capacity, 2 * count) if self.has_gpu and count else self.capacity

    def runs(self, device: str) -> int:
        """Return how many untimed tasks run at once: for the others of its room images travel."""
        return max(self.room(device) // 2, 1)
