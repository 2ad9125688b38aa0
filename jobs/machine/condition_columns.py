"""Columns of `rounds` from the readings before and after a timed section."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

from jobs.machine.condition_reading import ConditionReading

Value = TypeVar("Value")


def columns(before: ConditionReading, after: ConditionReading) -> dict[str, Any]:
    """Return the columns of `rounds` from the readings before and after a timed section."""
    grown = {
        reason
        for (file, reason), count in after.events.items()
        if count > before.events.get((file, reason), count)
    }
    reasons = grown | before.throttles | after.throttles
    is_known = before.is_throttling_known and after.is_throttling_known
    return {
        "started_at": before.taken_at,
        "ended_at": after.taken_at,
        "clock_mhz": _mean(before.clock_mhz, after.clock_mhz),
        "temperature_c": max(_known(before.temperature_c, after.temperature_c), default=None),
        "cpu_clock_mhz": _mean(before.cpu_clock_mhz, after.cpu_clock_mhz),
        "emc_clock_mhz": _mean(before.emc_clock_mhz, after.emc_clock_mhz),
        "trip_c": min(_known(before.trip_c, after.trip_c), default=None),
        "fan_pct": _mean(before.fan_pct, after.fan_pct),
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


def _mean(*values: float | None) -> float | None:
    known = _known(*values)
    return sum(known) / len(known) if known else None


def _known(*values: Value | None) -> list[Value]:
    return [value for value in values if value is not None]


def _joined(names: Iterable[str]) -> str | None:
    return ", ".join(sorted(set(names))) or None
