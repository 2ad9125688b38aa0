"""The state of a machine while a round was timed, as the columns of its row in `rounds`."""

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
"""Of the files that a kernel shows; a made tree in tests."""

_WORDS = 100
"""Characters of a failure that a note repeats."""

Value = TypeVar("Value")


@dataclass(frozen=True)
class ConditionReading:
    """One look at the machine; None is what could not be read.

    Attributes:
        taken_at: naive UTC.
        taken_s: the same moment on the monotonic clock.
        clock_mhz, temperature_c: of the device.
        governors: of all processors.
        power_mode: a Jetson's.
        events: throttle events since boot.
        throttles: what holds the GPU back at this moment.
        is_throttling_known: whether the device shows its throttling.
        busy_s: processor time used since boot.
        own_s: what this process and its children have used of it.
        processors: how many there are.
        missing: by figure, why it could not be read.
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

    def missing_note(self) -> str:
        """Say what could not be read here and why; empty where all could."""
        figures: dict[str, list[str]] = {}
        for figure, why in self.missing.items():
            figures.setdefault(why, []).append(figure)
        named = [f"{', '.join(names)} ({why})" for why, names in figures.items()]
        return f"not readable here: {', '.join(named)}" if named else ""


class Machine:
    """Reads this machine's state as far as the machine shows it; never raises.

    Args:
        device: the one in use, `cpu` or `cuda`.
        root: where the kernel's files are.
        system: psutil, or a double.
        open_gpu: asked where the GPU is the device.
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
        self._gpu = cache(open_gpu)  # once it has opened

    @cached_property
    def first(self) -> ConditionReading:
        """The first reading of this process; what it lacks, later ones will lack."""
        return self.read()

    def read(self) -> ConditionReading:
        """Look at every source: milliseconds, so outside of all clocks."""
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
        )

    def _throttling(self, attempt: _Attempts) -> tuple[Events, frozenset[str], bool]:
        """All events, what holds the GPU back, and whether the device itself shows such."""
        figure = "throttling"
        jetson = attempt(figure, lambda: sensors.jetson_events(self._root)) or {}
        cpu = attempt(figure, lambda: sensors.cpu_events(self._root)) or {}
        gpu = attempt(figure, lambda: self._gpu().throttles()) if self._is_gpu else None
        # A Jetson's events hold processor and GPU back; the processor's say nothing of a GPU.
        is_known = bool(jetson) or (gpu is not None if self._is_gpu else bool(cpu))
        if is_known:
            attempt.missing.pop(figure, None)
        else:
            attempt.missing.setdefault(figure, "no thermal_throttle counters")
        return {**jetson, **cpu}, gpu or frozenset(), is_known


class Watch:
    """Looks at a machine before and after what is timed.

    Args:
        machine: which one.
    """

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._before = machine.first

    def begin(self) -> None:
        """What is timed comes next."""
        self._before = self._machine.read()

    def end(self) -> dict[str, Any]:
        """What is timed is over: its columns in `rounds`."""
        return columns(self._before, self._machine.read())


@cache
def machine_of(device: Device) -> Machine:
    """This machine, with a device in use; one a process, so that NVML is started once."""
    return Machine(device.name, ROOT)


def columns(before: ConditionReading, after: ConditionReading) -> dict[str, Any]:
    """The columns of `rounds` that two readings give."""
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
        "is_throttled": True if reasons else (False if is_known else None),
    }


def _load(before: ConditionReading, after: ConditionReading) -> float | None:
    """The share of all processors' time that others used."""
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
    # Both count in ticks of 10 ms or so: in a short round they may differ by more than passed.
    return min(max(others_s / available_s, 0.0), 1.0)


def _known(*values: Value | None) -> list[Value]:
    return [value for value in values if value is not None]


def _joined(names: Iterable[str]) -> str | None:
    return ", ".join(sorted(set(names))) or None


class _Attempts:
    """Reads sources one by one; one that fails gives None, and why stands in `missing`."""

    def __init__(self) -> None:
        self.missing: dict[str, str] = {}

    def __call__(self, figure: str, source: Callable[[], Value]) -> Value | None:
        try:
            return source()
        except AbsentError as err:
            self.missing[figure] = str(err)
        except Exception as err:  # noqa: BLE001 - a broken source costs its figure, not the round
            said = (str(err).splitlines() or [""])[0][:_WORDS]
            self.missing[figure] = f"{type(err).__name__}: {said}"
        return None
