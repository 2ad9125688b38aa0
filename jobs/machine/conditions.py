"""A machine's state around a timed section: which source gives each figure, and both readings."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache, cached_property
from pathlib import Path
from typing import Any, TypeVar

import psutil

from jobs.common.clock import now
from jobs.machine import clocks, load, thermal, throttling
from jobs.machine.condition_columns import columns
from jobs.machine.condition_reading import ConditionReading
from jobs.machine.devices import CUDA, Device
from jobs.machine.nvml import Gpu, open_gpu
from jobs.machine.power_mode import power_mode
from jobs.machine.sensors import AbsentError, checked_clock_mhz, is_temperature
from jobs.machine.thermal import StuckCheck
from jobs.machine.throttling import Events

ROOT = Path("/")
"""Root of the kernel's files; a temporary tree in tests."""

_WORDS = 100
"""Most characters of an error message that a note repeats."""

_MOST_PCT = 100

Value = TypeVar("Value")
Sources = tuple[Callable[[], Value], ...]
"""Where a figure is read from, the preferred source first."""


class Machine:
    """Reads all of this machine's state that is readable; never raises.

    Args:
        device: the one in use, `cpu` or `cuda`.
        root: root of the kernel's files.
        system: psutil, or a test double.
        open_gpu: opens the GPU; called only if the device is `cuda`.
    """

    def __init__(
        self,
        device: str,
        root: Path,
        system: Any = psutil,
        open_gpu: Callable[[], Gpu] = open_gpu,
    ) -> None:
        self._is_gpu = device == CUDA
        self._root = root
        self._system = system
        self._gpu = cache(open_gpu)  # a failure is not cached
        self._stuck = StuckCheck()

    @cached_property
    def first(self) -> ConditionReading:
        """The first reading in this process; figures missing here stay missing later."""
        return self.read()

    def read(self) -> ConditionReading:
        """Read every source. Takes milliseconds, so call it outside all timed sections."""
        root, system, attempt = self._root, self._system, _Attempts()
        name = "processor clock" if self._is_gpu else "clock"
        cpu_clock_mhz = attempt(name, lambda: clocks.cpu_clock_mhz(system, root))
        if self._is_gpu:
            clock_mhz = attempt("clock", *self._gpu_clocks())
            temperature_c = attempt("temperature", *self._gpu_temperatures())
        else:
            clock_mhz = cpu_clock_mhz
            temperature_c = attempt("temperature", self._cpu_temperature_c)
        events, throttles, is_known = self._throttling(attempt)
        return ConditionReading(
            clock_mhz=clock_mhz,
            temperature_c=temperature_c,
            cpu_clock_mhz=cpu_clock_mhz,
            emc_clock_mhz=attempt("memory clock", lambda: clocks.emc_clock_mhz(root)),
            trip_c=attempt("trip point", lambda: thermal.trip_c(root)),
            fan_pct=attempt("fan", *self._fans()),
            governors=attempt("governor", lambda: clocks.governors(root)),
            power_mode=attempt("power mode", lambda: power_mode(root)),
            events=events,
            throttles=throttles,
            is_throttling_known=is_known,
            busy_s=attempt("load", lambda: load.busy_s(system)),
            own_s=attempt("load", lambda: load.own_s(system)),
            processors=attempt("load", lambda: int(system.cpu_count())),
            taken_at=now(),
            taken_s=time.monotonic(),
            missing=attempt.missing,
            gpu_others=attempt("others on the GPU", lambda: self._gpu().others())
            if self._is_gpu
            else None,
        )

    def _gpu_clocks(self) -> Sources[float]:
        """Return NVML's clock of the GPU, then the kernel's: a Jetson's NVML answers few."""
        return (
            lambda: checked_clock_mhz(self._gpu().clock_mhz(), "NVML"),
            lambda: clocks.gpu_clock_mhz(self._root),
        )

    def _gpu_temperatures(self) -> Sources[float]:
        return (
            lambda: self._checked_c(self._gpu().temperature_c()),
            lambda: self._checked_c(thermal.gpu_temperature_c(self._root)),
        )

    def _cpu_temperature_c(self) -> float:
        return self._checked_c(thermal.cpu_temperature_c(self._system, self._root))

    def _fans(self) -> Sources[float]:
        board = (lambda: thermal.fan_pct(self._root),)
        return (lambda: _checked_pct(self._gpu().fan_pct()), *board) if self._is_gpu else board

    def _checked_c(self, celsius: float) -> float:
        if not is_temperature(celsius):
            raise AbsentError(f"the sensor reads {celsius:g} degrees")
        return self._stuck.checked(celsius)

    def _throttling(self, attempt: _Attempts) -> tuple[Events, frozenset[str], bool]:
        """Return all events, what throttles now, and whether the device reports throttling."""
        figure = "throttling"
        jetson = attempt(figure, lambda: throttling.jetson_events(self._root)) or {}
        cpu = attempt(figure, lambda: throttling.cpu_events(self._root)) or {}
        cooling = attempt(figure, lambda: throttling.cooling_states(self._root)) or {}
        gpu = attempt(figure, lambda: self._gpu().throttles()) if self._is_gpu else None
        # A Jetson's events throttle both processor and GPU; a processor's do not concern a GPU.
        of_device = [name for name in cooling if not self._is_gpu or throttling.is_of_gpu(name)]
        is_known = bool(jetson or of_device) or (gpu is not None if self._is_gpu else bool(cpu))
        if is_known:
            attempt.missing.pop(figure, None)
        else:
            attempt.missing.setdefault(figure, "no thermal_throttle counters")
        capped = {name for name, state in cooling.items() if state > 0}
        return {**jetson, **cpu}, (gpu or frozenset()) | capped, is_known


class Watch:
    """Reads a machine's state before and after a timed section.

    Args:
        machine: the machine to read.
    """

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._before = machine.first

    def begin(self) -> None:
        """Take the reading before the timed section."""
        self._before = self._machine.read()

    def end(self) -> dict[str, Any]:
        """Take the reading after the timed section, and return its columns in `rounds`."""
        return columns(self._before, self._machine.read())


@cache
def machine_of(device: Device) -> Machine:
    """Return this machine with a device in use; one per process, so that NVML starts once."""
    return Machine(device.name, ROOT)


def _checked_pct(percent: float) -> float:
    if not 0 <= percent <= _MOST_PCT:
        raise AbsentError(f"the fan reads {percent:g} %")
    return percent


class _Attempts:
    """Reads sources one by one; returns None for one that fails, with the reason in `missing`."""

    def __init__(self) -> None:
        self.missing: dict[str, str] = {}

    def __call__(self, figure: str, *sources: Callable[[], Value]) -> Value | None:
        """Return the value of the first source that has one."""
        reasons = []
        for source in sources:
            try:
                return source()
            except AbsentError as err:
                reasons.append(str(err))
            except Exception as err:  # noqa: BLE001 - a broken source loses its figure, not the round
                said = (str(err).splitlines() or [""])[0][:_WORDS]
                reasons.append(f"{type(err).__name__}: {said}")
        self.missing[figure] = "; ".join(reasons)
        return None
