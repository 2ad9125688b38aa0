"""One reading of a machine's state, and which of its figures are missing and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from jobs.machine.throttling import Events


@dataclass(frozen=True)
class ConditionReading:
    """One reading of the machine's state; a field that could not be read is None.

    Attributes:
        taken_at: naive UTC.
        taken_s: the same moment on the monotonic clock.
        clock_mhz, temperature_c: of the device.
        cpu_clock_mhz: of the processors, also if the device is a GPU.
        emc_clock_mhz: of a Jetson's memory controller.
        trip_c: the lowest temperature at which the chip throttles.
        fan_pct: power of the fan, 0 to 100.
        governors: frequency governors of all processors.
        power_mode: of a Jetson, by name and number.
        events: throttle events since boot.
        throttles: what throttles the device now, by name.
        is_throttling_known: whether the device reports throttling.
        busy_s: processor time used since boot.
        own_s: the part of it that this process and its children used.
        processors: their number.
        missing: figures that could not be read, each with the reason.
        gpu_others: other processes on the GPU, if that is the device.
    """

    taken_at: datetime
    taken_s: float
    clock_mhz: float | None
    temperature_c: float | None
    cpu_clock_mhz: float | None
    emc_clock_mhz: float | None
    trip_c: float | None
    fan_pct: float | None
    governors: frozenset[str] | None
    power_mode: str | None
    events: Events
    throttles: frozenset[str]
    is_throttling_known: bool
    busy_s: float | None
    own_s: float | None
    processors: int | None
    missing: Mapping[str, str]
    gpu_others: int | None = None

    def missing_note(self) -> str:
        """Return which figures could not be read and why; empty if all could."""
        figures: dict[str, list[str]] = {}
        for figure, why in self.missing.items():
            figures.setdefault(why, []).append(figure)
        named = [f"{', '.join(names)} ({why})" for why, names in figures.items()]
        return f"not readable here: {', '.join(named)}" if named else ""
