"""The interface of all sources of power, and what they share."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from jobs.machine.power.protocol import TOTAL

Clock = Callable[[], int]
"""Nanoseconds since some fixed moment, never going back."""

NS_PER_S = 1_000_000_000

STILL_S = 5.0
"""After which a counter of energy that has not moved counts as broken: others move each 100 ms."""


class PowerError(Exception):
    """A source that should answer does not, or answers what is no power; the message says which."""


@dataclass(frozen=True)
class Scene:
    """What the machine is at; sensors see for themselves, a replay must be told.

    Attributes:
        model: its name in the grid.
        is_active: whether it runs.
        exit_block: where every image is forced out; None where images are routed.
    """

    model: str
    is_active: bool
    exit_block: int | None = None


@dataclass(frozen=True)
class PowerReading:
    """The mean power between two moments of the monotonic clock.

    Attributes:
        begin_ns, end_ns: of a sensor the time that asking took, of a counter of energy the time
            since the reading before.
        rails_mw: by rail; `total` where it is known.
    """

    begin_ns: int
    end_ns: int
    rails_mw: Mapping[str, float]


class PowerSource(ABC):
    """Something that says how much power the machine takes.

    Attributes:
        name: as `nodes.power_source` shows it: the source, and what its total is made of.
        period_ms: how often it is worth asking.
        summed: the rails that the total is the sum of; empty where no total is known.
    """

    name: str
    period_ms: float
    summed: tuple[str, ...]

    @abstractmethod
    def read(self) -> PowerReading | None:
        """Read all rails now; None where there is nothing new since the last time.

        Raises:
            PowerError: the sensor does not answer, or not with numbers.
        """

    def attend(self, scene: Scene) -> None:  # noqa: B027 - sensors need not be told
        """Be told what the machine is at from now on."""


class EnergyCounter:
    """Power out of counters of energy: what they grew by, over the time since they last did.

    Args:
        read_mj: reads all counters, in millijoules by rail.
        summed: the rails that the total is the sum of. Until all of these have grown there is
            nothing new: a counter that is brought up to date less often than it is asked must not
            say 0.
        ranges_mj: where a counter starts again from 0; one without must not go back.
        clock: a fake one in tests.
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
        """The mean power since the last reading; None at first, and before anything has grown.

        Raises:
            PowerError: a counter went back, or stands still; else what reading them raises.
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
    """The whole number in a kernel's file.

    By the bare system calls: a sampler reads many files, and holds up the thread that is timed
    between any two of them only.

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
        raise PowerError(f"{path} says {shown!r}, which is no number") from err
