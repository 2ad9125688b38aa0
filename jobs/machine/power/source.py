"""The interface of all power sources, and their shared helpers."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from jobs.machine.power.protocol import TOTAL

Clock = Callable[[], int]
"""Returns nanoseconds since a fixed moment; monotonic."""

NS_PER_S = 1_000_000_000

STILL_S = 5.0
"""Time without movement after which an energy counter counts as broken; others move each 100 ms."""


class PowerError(Exception):
    """A source does not answer, or its answer is not a power; the message says which."""


@dataclass(frozen=True)
class Scene:
    """What the machine is doing; sensors do not need this, a replay does.

    Attributes:
        model: its name in the grid.
        is_active: whether it runs.
        exit_block: the block after which every image exits; None if images are routed.
    """

    model: str
    is_active: bool
    exit_block: int | None = None


@dataclass(frozen=True)
class PowerReading:
    """The mean power between two moments of the monotonic clock.

    Attributes:
        begin_ns, end_ns: for a sensor, the time that the reading took; for an energy counter, the
            time since the previous reading.
        rails_mw: by rail; includes `total` if it is known.
    """

    begin_ns: int
    end_ns: int
    rails_mw: Mapping[str, float]


class PowerSource(ABC):
    """Interface of a source that measures the machine's power.

    Attributes:
        name: its name in `nodes.power_source`: the source, and the rails of its total.
        period_ms: sensible time between readings.
        summed: the rails whose sum is the total; empty if no total is known.
        is_sensor: whether it measures; one that always reads the same is stuck.
    """

    is_sensor = True
    name: str
    period_ms: float
    summed: tuple[str, ...]

    @abstractmethod
    def read(self) -> PowerReading | None:
        """Read all rails now; None if there is nothing new since the last reading.

        Raises:
            PowerError: the sensor does not answer, or its answer is not a number.
        """

    def attend(self, scene: Scene) -> None:  # noqa: B027 - sensors need no scene
        """Set what the machine is doing from now on."""


class EnergyCounter:
    """Power from energy counters: their growth, divided by the time since they last grew.

    Args:
        read_mj: reads all counters, in millijoules by rail.
        summed: the rails whose sum is the total. Until all of them have grown there is nothing
            new: a counter that is updated less often than it is read must not give 0.
        ranges_mj: value at which a counter wraps to 0; a counter without one must not go back.
        clock: returns nanoseconds; a fake in tests.
    """

    def __init__(
        self,
        read_mj: Callable[[], Mapping[str, float]],
        summed: tuple[str, ...],
        ranges_mj: Mapping[str, float],
        clock: Clock,
    ) -> None:
        self._read_mj = read_mj
        self._summed = summed
        self._ranges_mj = ranges_mj
        self._clock = clock
        self._last: tuple[int, Mapping[str, float]] | None = None

    def read(self) -> PowerReading | None:
        """Return the mean power since the last reading; None at first and until counters grow.

        Raises:
            PowerError: a counter went back or has stopped; else what reading them raises.
        """
        values_mj = self._read_mj()
        now_ns = self._clock()
        if self._last is None:
            self._last = now_ns, values_mj
            return None
        then_ns, before_mj = self._last
        grown_mj = {rail: self._growth(rail, before_mj[rail], mj) for rail, mj in values_mj.items()}
        still = [rail for rail in self._summed if not grown_mj[rail]]
        if still and now_ns - then_ns > STILL_S * NS_PER_S:
            raise PowerError(
                f"the energy counter of {', '.join(still)} has not moved in {STILL_S:g} s"
            )
        if still or now_ns <= then_ns:
            return None
        self._last = now_ns, values_mj
        seconds = (now_ns - then_ns) / NS_PER_S
        rails_mw = {rail: mj / seconds for rail, mj in grown_mj.items()}
        rails_mw[TOTAL] = sum(rails_mw[rail] for rail in self._summed)
        return PowerReading(then_ns, now_ns, rails_mw)

    def _growth(self, rail: str, before_mj: float, after_mj: float) -> float:
        grown_mj = after_mj - before_mj
        if grown_mj < 0:
            if rail not in self._ranges_mj:
                self._last = None
                raise PowerError(f"the energy counter of {rail} went back")
            grown_mj += self._ranges_mj[rail]
        return grown_mj


def read_number(path: str) -> int:
    """Return the whole number in a kernel's file.

    Uses bare system calls: a sampler reads many files, and can delay the timed thread only between
    two of them.

    Raises:
        PowerError: the file is gone, cannot be read, or holds something else.
    """
    try:
        handle = os.open(path, os.O_RDONLY)
        try:
            text = os.read(handle, 64)
        finally:
            os.close(handle)
    except OSError as err:
        raise PowerError(f"{path}: {err.strerror}") from err
    try:
        return int(text)
    except ValueError as err:
        shown = text.decode(errors="replace").strip()[:20]
        raise PowerError(f"{path} contains {shown!r}, which is not a number") from err
