"""An NVIDIA GPU's power by NVML: from its energy counter, else its reported power."""

from __future__ import annotations

import time
from collections.abc import Callable

from jobs.machine.nvml import Gpu
from jobs.machine.power.protocol import TOTAL
from jobs.machine.power.source import Clock, EnergyCounter, PowerError, PowerReading, PowerSource
from jobs.machine.sensors import AbsentError

RAIL = "gpu"
_PERIOD_MS = 100.0


class GpuEnergy(PowerSource):
    """The GPU in use, by its energy counter.

    Args:
        gpu: the GPU to read.
        clock: returns nanoseconds; a fake in tests.
    """

    name = "nvml: the GPU, by its energy counter"
    period_ms = _PERIOD_MS
    summed = (RAIL,)

    def __init__(self, gpu: Gpu, clock: Clock) -> None:
        self._gpu = gpu
        self._counter = EnergyCounter(self._read_mj, self.summed, {}, clock)

    def read(self) -> PowerReading | None:
        """Return the mean power since the last reading."""
        return self._counter.read()

    def _read_mj(self) -> dict[str, float]:
        return {RAIL: _asked(self._gpu.energy_mj)}


class GpuPower(PowerSource):
    """The GPU in use, by its reported power.

    Args:
        gpu: the GPU to read.
        clock: returns nanoseconds; a fake in tests.
    """

    name = "nvml: the GPU, by its reported power"
    period_ms = _PERIOD_MS
    summed = (RAIL,)

    def __init__(self, gpu: Gpu, clock: Clock) -> None:
        self._gpu = gpu
        self._clock = clock

    def read(self) -> PowerReading:
        """Return the power that it reports now."""
        begin_ns = self._clock()
        power_mw = _asked(self._gpu.power_mw)
        return PowerReading(begin_ns, self._clock(), {RAIL: power_mw, TOTAL: power_mw})


def find_nvml(open_gpu: Callable[[], Gpu], clock: Clock = time.monotonic_ns) -> PowerSource:
    """Return a source for the GPU in use: its energy counter, else its reported power.

    Raises:
        AbsentError: it has neither. On a Jetson NVML starts, but reports both as not supported.
    """
    gpu = open_gpu()
    energy, power = GpuEnergy(gpu, clock), GpuPower(gpu, clock)
    try:
        energy.read()
    except PowerError as no_energy:
        try:
            power.read()
        except PowerError as no_power:
            raise AbsentError(f"energy: {no_energy}; power: {no_power}") from no_power
        return power
    return energy


def _asked(question: Callable[[], float]) -> float:
    try:
        return question()
    except Exception as err:
        raise PowerError(f"{type(err).__name__}: {err}") from err
