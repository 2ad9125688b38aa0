"""The state of a machine during a timed round, as columns of the row in `rounds`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache, cached_property
from pathlib import Path
from typing import Any, TypeVar

import psutil

from jobs.common.clock import now
from jobs.machine import sensors
from jobs.machine.devices import CUDA, Device
from jobs.machine.nvml import Gpu, open_gpu
from jobs.machine.sensors import AbsentError, Events

ROOT = Path("/")
"""Root of the kernel's files; a temporary tree in tests."""

_WORDS = 100
"""Most characters of an error message that a note repeats."""

Value = TypeVar("Value")


@dataclass(frozen=True)
class ConditionReading:
    """One reading of the machine's state; a field that could not be read is None.

    Attributes:
        taken_at: naive UTC.
        taken_s: the same moment on the monotonic clock.
        clock_mhz, temperature_c: of the device.
        governors: frequency governors of all processors.
        power_mode: of a Jetson.
        events: throttle events since boot.
        throttles: reasons for which the GPU is throttled now.
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

    @cached_property
    def first(self) -> ConditionReading:
        """The first reading in this process; figures missing here stay missing later."""
        return self.read()

    def read(self) -> ConditionReading:
        """Read every source. Takes milliseconds, so call it outside all timed sections."""
        root, system, attempt = self._root, self._system, _Attempts()
        if self._is_gpu:
            clock_mhz = attempt("clock", lambda: self._gpu().clock_mhz())
            temperature_c = attempt("temperature", lambda: self._gpu().temperature_c())
        else:
            clock_mhz = attempt("clock", lambda: sensors.clock_mhz(system, root))
            temperature_c = attempt("temperature", lambda: sensors.temperature_c(system, root))
        governors = attempt("governor", lambda: sensors.governors(root))
        power_mode = attempt("power mode", lambda: sensors.power_mode(root))
        events, throttles, is_known = self._throttling(attempt)
        return ConditionReading(
            clock_mhz=clock_mhz,
            temperature_c=temperature_c,
            governors=governors,
            power_mode=power_mode,
            events=events,
            throttles=throttles,
            is_throttling_known=is_known,
            busy_s=attempt("load", lambda: sensors.busy_s(system)),
            own_s=attempt("load", lambda: sensors.own_s(system)),
            processors=attempt("load", lambda: int(system.cpu_count())),
            taken_at=now(),
            taken_s=time.monotonic(),
            missing=attempt.missing,
            gpu_others=attempt("others on the GPU", lambda: self._gpu().others())
            if self._is_gpu
            else None,
        )

    def _throttling(self, attempt: _Attempts) -> tuple[Events, frozenset[str], bool]:
        """Return all events, the GPU's throttle reasons, and whether the device reports any."""
        figure = "throttling"
        jetson = attempt(figure, lambda: sensors.jetson_events(self._root)) or {}
        cpu = attempt(figure, lambda: sensors.cpu_events(self._root)) or {}
        gpu = attempt(figure, lambda: self._gpu().throttles()) if self._is_gpu else None
        # A Jetson's events throttle both processor and GPU; a processor's do not concern a GPU.
        is_known = bool(jetson) or (gpu is not None if self._is_gpu else bool(cpu))
        if is_known:
            attempt.missing.pop(figure, None)
        else:
            attempt.missing.setdefault(figure, "no thermal_throttle counters")
        return {**jetson, **cpu}, gpu or frozenset(), is_known


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


def columns(before: ConditionReading, after: ConditionReading) -> dict[str, Any]:
    """Return the columns of `rounds` from the readings before and after a timed section."""
    grown = {
        reason
        for (file, reason), count in after.events.items()
        if count > before.events.get((file, reason), count)
    }
    reasons = grown | before.throttles | after.throttles
    is_known = before.is_throttling_known and after.is_throttling_known
    clocks = _known(before.clock_mhz, after.clock_mhz)
    return {
        "started_at": before.taken_at,
        "ended_at": after.taken_at,
        "clock_mhz": sum(clocks) / len(clocks) if clocks else None,
        "temperature_c": max(_known(before.temperature_c, after.temperature_c), default=None),
        "throttle_reasons": _joined(reasons),
        "governor": _joined((before.governors or frozenset()) | (after.governors or frozenset())),
        "power_mode": _joined(_known(before.power_mode, after.power_mode)),
        "load": _load(before, after),
        "gpu_others": max(_known(before.gpu_others, after.gpu_others), default=None),
        "is_throttled": True if reasons else (False if is_known else None),
    }


def _load(before: ConditionReading, after: ConditionReading) -> float | None:
    """Return the share of all processors' time that other processes used, from 0 to 1."""
    if (
        before.busy_s is None
        or before.own_s is None
        or after.busy_s is None
        or after.own_s is None
        or not after.processors
    ):
        return None
    available_s = (after.taken_s - before.taken_s) * after.processors
    others_s = (after.busy_s - before.busy_s) - (after.own_s - before.own_s)
    if available_s <= 0:
        return None
    # Both count in ticks of about 10 ms: in a short round their difference may exceed the time.
    return min(max(others_s / available_s, 0.0), 1.0)


def _known(*values: Value | None) -> list[Value]:
    return [value for value in values if value is not None]


def _joined(names: Iterable[str]) -> str | None:
    return ", ".join(sorted(set(names))) or None


class _Attempts:
    """Reads sources one by one; returns None for one that fails, with the reason in `missing`."""

    def __init__(self) -> None:
        self.missing: dict[str, str] = {}

    def __call__(self, figure: str, source: Callable[[], Value]) -> Value | None:
        try:
            return source()
        except AbsentError as err:
            self.missing[figure] = str(err)
        except Exception as err:  # noqa: BLE001 - a broken source loses its figure, not the round
            said = (str(err).splitlines() or [""])[0][:_WORDS]
            self.missing[figure] = f"{type(err).__name__}: {said}"
        return None
