"""The meter: the windows of one task, the sampler that runs meanwhile, and their rows."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any

from jobs.common.clock import now
from jobs.machine.heartbeat import count_batch
from jobs.machine.power.discovery import PowerChoice
from jobs.machine.power.protocol import (
    ACTIVE,
    MAX_W,
    MAX_WINDOW_S,
    MIN_SAMPLES,
    TOTAL,
    EnergyProtocol,
    Phase,
)
from jobs.machine.power.sampler import Sampler
from jobs.machine.power.source import NS_PER_S, PowerReading, PowerSource, Scene

_PERIODS = MIN_SAMPLES + 2
"""Periods of its source that an idle window lasts: readings across either end do not count."""

_SHOWN_ERRORS = 1
_STUCK_READINGS = 3 * MIN_SAMPLES  # a task has at least so many
_NAP_S = 0.01
_MW_PER_W = 1000

NOTHING = PowerChoice(None, None)


@dataclass
class Window:
    """A period of time in one phase, for which power is averaged.

    Attributes:
        phase: idle before, active or idle after.
        exit_block: the block after which all images exit; None if they are routed, or if idle.
        begin_ns, end_ns: on the monotonic clock.
    """

    phase: Phase
    exit_block: int | None
    begin_ns: int
    end_ns: int

    def __str__(self) -> str:
        """Return its name in notes."""
        at_exit = "" if self.exit_block is None else f" after block {self.exit_block}"
        return f"{self.phase}{at_exit}"

    def holds(self, reading: PowerReading) -> bool:
        """Return whether a reading lies entirely inside."""
        return self.begin_ns <= reading.begin_ns and reading.end_ns <= self.end_ns


@dataclass
class Active:
    """An active window that is still open.

    Attributes:
        window: the window; its end is not known yet.
        asked_ns: time of the first call of `is_short`, when the timed part proper is over.
    """

    meter: Meter
    window: Window
    asked_ns: int | None = field(default=None)

    def is_short(self) -> bool:
        """Return whether the same work must run again because the window is still too short."""
        now_ns = self.meter.now_ns()
        self.asked_ns = self.asked_ns or now_ns
        return self.meter.is_short(self.window, now_ns)


class Meter:
    """Records the power of one task; a context manager around its windows.

    Does nothing if the task does not measure energy or there is no power source.

    Args:
        model: its name, for a replay.
        energy: lengths of the windows; None if the task does not measure energy.
        choice: the power source.
    """

    def __init__(self, model: str, energy: EnergyProtocol | None, choice: PowerChoice) -> None:
        self._model = model
        self._energy = energy or EnergyProtocol()
        self._choice = choice if energy else NOTHING
        # Read before the task is pinned: the sampler uses the processors that the task does not.
        can_move = hasattr(os, "sched_getaffinity")
        self._processors = frozenset(os.sched_getaffinity(0)) if can_move else frozenset[int]()
        self._windows: list[Window] = []
        self._sampler: Sampler | None = None
        self.added_s = 0.0

    @property
    def is_on(self) -> bool:
        """Whether windows are recorded."""
        return self._source is not None or self._choice.keeps_marks

    @property
    def _source(self) -> PowerSource | None:
        return self._choice.source

    def now_ns(self) -> int:
        """Return the time on the clock of all windows."""
        return time.monotonic_ns()

    def __enter__(self) -> Meter:  # noqa: PYI034 - no subclasses; Self is newer than Python 3.10
        """Start sampling; the wall clock is read once, so that its adjustments do no harm."""
        if self._source is not None:
            self._sampler = Sampler(self._source, self._processors)
            self._sampler.start()
        self._anchor = now()
        self._anchor_ns = self.now_ns()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop sampling."""
        if self._sampler:
            self._sampler.stop()

    def idle(self, phase: Phase) -> None:
        """Let the machine settle, then record its idle power."""
        if not self.is_on:
            return
        began_ns = self.now_ns()
        self._attend(is_active=False)
        time.sleep(self._energy.settle_s)
        window = Window(phase, None, self.now_ns(), 0)
        time.sleep(self._idle_s)
        while self._lacks_samples(window, self.now_ns()):
            time.sleep(_NAP_S)
        self._close(window)
        count_batch()
        self.added_s += (self.now_ns() - began_ns) / NS_PER_S

    @contextmanager
    def active(self, exit_block: int | None = None) -> Iterator[Active]:
        """Record the power of the body, which must continue while `Active.is_short`."""
        self._attend(is_active=True, exit_block=exit_block)
        active = Active(self, Window(ACTIVE, exit_block, self.now_ns(), 0))
        yield active
        self._close(active.window)
        self._attend(is_active=False)
        if active.asked_ns is not None:
            self.added_s += (active.window.end_ns - active.asked_ns) / NS_PER_S

    def is_short(self, window: Window, now_ns: int) -> bool:
        """As `Active.is_short`."""
        lasted_s = (now_ns - window.begin_ns) / NS_PER_S
        return self.is_on and (
            lasted_s < self._energy.active_s or self._lacks_samples(window, now_ns)
        )

    def _lacks_samples(self, window: Window, now_ns: int) -> bool:
        """Return whether to keep a window open because a slow sensor gave too few samples."""
        sampler, lasted_s = self._sampler, (now_ns - window.begin_ns) / NS_PER_S
        if sampler is None or sampler.is_failing or lasted_s >= MAX_WINDOW_S:
            return False
        # Only the latest: a long window has thousands, and this runs after each batch.
        latest = sampler.readings[-MIN_SAMPLES:]
        return sum(reading.begin_ns >= window.begin_ns for reading in latest) < MIN_SAMPLES

    def columns(self) -> dict[str, Any]:
        """Return this task's rows of `power` as columns; empty if the meter is off."""
        rows = list(self._mark_rows() if self._choice.keeps_marks else self._sample_rows())
        names = ("phase", "exit_block", "sampled_at", "rail", "power_mw")
        return {name: [row[i] for row in rows] for i, name in enumerate(names)} if rows else {}

    def why_not(self) -> str:
        """Return why the total is rejected; empty if it is valid or no energy is measured."""
        if not self._sampler or not self._windows or not self._source:
            return ""
        summed = self._source.summed
        if not summed:
            return f"energy: {self._source.name} that covers the whole machine"
        readings = self._inside()
        for rail in summed:
            if readings and not any(reading.rails_mw.get(rail) for _, reading in readings):
                return f"energy: rail {rail} of {self._source.name} always reads 0 W"
        if (stuck_mw := _stuck_mw(readings)) is not None and self._source.is_sensor:
            watts = stuck_mw / _MW_PER_W
            return f"energy: {self._source.name} always reads {watts:g} W, idle and running: stuck"
        poor = [
            str(window)
            for window in self._windows
            if sum(seen is window and _is_good(r) for seen, r in readings) < MIN_SAMPLES
        ]
        if not poor:
            return ""
        said = [error for error, _ in self._sampler.errors.most_common(_SHOWN_ERRORS)]
        said += sorted({fault for _, reading in readings if (fault := _fault(reading))})
        why = f" ({'; '.join(said)})" if said else ""
        return (
            f"energy: {self._source.name} gave fewer than {MIN_SAMPLES} good samples in window"
            f" {', '.join(poor)}{why}"
        )

    @property
    def _idle_s(self) -> float:
        period_s = self._source.period_ms / 1e3 if self._source else 0.0
        return max(self._energy.idle_s, min(_PERIODS * period_s, MAX_WINDOW_S))

    def _attend(self, *, is_active: bool, exit_block: int | None = None) -> None:
        if self._source is not None:
            self._source.attend(Scene(self._model, is_active, exit_block))

    def _close(self, window: Window) -> None:
        window.end_ns = self.now_ns()
        if self.is_on:
            self._windows.append(window)

    def _inside(self) -> list[tuple[Window, PowerReading]]:
        """Return all readings that lie inside a window, each with its window."""
        readings: Sequence[PowerReading] = self._sampler.readings if self._sampler else ()
        return [(w, reading) for w in self._windows for reading in readings if w.holds(reading)]

    def _sample_rows(self) -> Iterator[tuple[Phase, int | None, datetime, str, float | None]]:
        """Yield every rail of every reading; the total only if it is valid."""
        is_believed = not self.why_not()
        for window, reading in self._inside():
            at = self._wall_time((reading.begin_ns + reading.end_ns) // 2)
            for rail, power_mw in reading.rails_mw.items():
                if rail != TOTAL or (is_believed and _is_good(reading)):
                    yield window.phase, window.exit_block, at, rail, _finite(power_mw)

    def _mark_rows(self) -> Iterator[tuple[Phase, int | None, datetime, str, float | None]]:
        """Yield the begin and end of each window, without power."""
        for window in self._windows:
            for at_ns in (window.begin_ns, window.end_ns):
                yield window.phase, window.exit_block, self._wall_time(at_ns), TOTAL, None

    def _wall_time(self, at_ns: int) -> datetime:
        return self._anchor + timedelta(microseconds=(at_ns - self._anchor_ns) // 1000)


def _stuck_mw(readings: Sequence[tuple[Window, PowerReading]]) -> float | None:
    """Return the total of all readings, idle and running, if it is always the same."""
    totals = {reading.rails_mw.get(TOTAL) for _, reading in readings}
    phases = {window.phase == ACTIVE for window, _ in readings}
    is_stuck = len(readings) >= _STUCK_READINGS and len(totals) == 1 and len(phases) > 1
    return totals.pop() if is_stuck else None


def _is_good(reading: PowerReading) -> bool:
    return not _fault(reading)


def _fault(reading: PowerReading) -> str:
    """Return why a reading's total is invalid: not above 0, or above a megawatt; empty if valid."""
    total_mw = reading.rails_mw.get(TOTAL, math.nan)
    if not total_mw > 0:  # also of NaN
        return "power that is not above 0"
    return "" if total_mw <= MAX_W * _MW_PER_W else f"power above {MAX_W:,.0f} W"


def _finite(power_mw: float) -> float | None:
    return power_mw if math.isfinite(power_mw) else None
