"""Messages about a log that fits no window of a run: of another time, or too coarse."""

from __future__ import annotations

import statistics
from bisect import bisect_left
from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from jobs.common.formatting import format_duration
from jobs.machine.power.meter_log import LogLine
from jobs.machine.power.protocol import MIN_SAMPLES

Row = dict[str, Any]

_MINUTE_S = 60


def describe_unfit(path: Path, windows: Sequence[Row], lines: Sequence[LogLine]) -> str:
    """Return the message for a log that fills nothing."""
    times = [line.at for line in lines]
    if any(window["begins_at"] <= at <= window["ends_at"] for window in windows for at in times):
        return _describe_too_coarse(path, windows, lines)
    return describe_elsewhere(path, windows, times)


def describe_elsewhere(path: Path, windows: Sequence[Row], times: Sequence[datetime]) -> str:
    """Return the message for a log without a line in any window; it says how far off it is."""
    gap_s, is_early = min(
        min(
            (abs((at - window["begins_at"]).total_seconds()), at < window["begins_at"]),
            (abs((at - window["ends_at"]).total_seconds()), at < window["begins_at"]),
        )
        for window in windows
        for at in _around(times, window)
    )
    first = min(window["begins_at"] for window in windows)
    last = max(window["ends_at"] for window in windows)
    return (
        f"{path} has no line in any window of node {windows[0]['node']}, which was timed from"
        f" {_utc(first)} to {_utc(last)}; the log goes from {_utc(times[0])} to {_utc(times[-1])},"
        f" and its nearest line is {_gap(gap_s)} too {'early' if is_early else 'late'}: check the"
        " clocks and the time zone of the log. Nothing was written"
    )


def _gap(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < _MINUTE_S else format_duration(seconds)


def _utc(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"


def _around(times: Sequence[datetime], window: Row) -> Sequence[datetime]:
    """Return the times just before and at or after a window's begin."""
    place = bisect_left(times, window["begins_at"])
    return times[max(place - 1, 0) : place + 1]


def _describe_too_coarse(path: Path, windows: Sequence[Row], lines: Sequence[LogLine]) -> str:
    """Return the message for a log of which no task has enough lines."""
    gaps = [(after.at - before.at).total_seconds() for before, after in pairwise(lines)]
    shortest_s = min((w["ends_at"] - w["begins_at"]).total_seconds() for w in windows)
    gap_s = statistics.median(gaps) if gaps else None
    if gap_s is not None and gap_s * MIN_SAMPLES <= shortest_s:
        return (
            f"{path} covers no task completely: it goes from {_utc(lines[0].at)} to"
            f" {_utc(lines[-1].at)}, and the run was timed from"
            f" {_utc(min(w['begins_at'] for w in windows))} to"
            f" {_utc(max(w['ends_at'] for w in windows))}. A task needs {MIN_SAMPLES} lines in"
            " each of its windows: export the meter's log again, for the whole time. Nothing was"
            " written"
        )
    often = "one line" if gap_s is None else f"a line every {gap_s:g} s"
    return (
        f"{path} has {often}, and no task has {MIN_SAMPLES} lines in each of its windows, of which"
        f" the shortest lasts {shortest_s:.1f} s: lengthen the windows in the grid, such as energy:"
        " {idle_s: 10, active_s: 10}, and run it again. Nothing was written"
    )
