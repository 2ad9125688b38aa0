"""The windows of a run that a log fills with power, task by task."""

from __future__ import annotations

import statistics
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Any

from jobs.common.errors import BadInputError, InputProblem, UsageError
from jobs.machine.power.meter_log import LogLine
from jobs.machine.power.protocol import ACTIVE, MIN_SAMPLES, TOTAL
from jobs.machine.power.unfit_log import describe_elsewhere

Row = dict[str, Any]

_SHOWN_LINES = 20


@dataclass(frozen=True)
class FilledWindows:
    """The rows and counts that one node's windows get from a log.

    Attributes:
        rows: of `power`.
        samples: lines of the log among them; a line has a row of each of its rails.
        tasks, had_power, too_few, no_rise: as for `ImportedLog`.
    """

    rows: list[Row]
    samples: int
    tasks: int
    had_power: int
    too_few: int
    no_rise: int


def fill_windows(
    path: Path, windows: Sequence[Row], node: str, lines: Sequence[LogLine]
) -> FilledWindows:
    """Return the rows of `power` that a node's windows get from its lines of a log.

    Raises:
        BadInputError: the log reads 0 while the node was at work.
        UsageError: no line lies in any window.
    """
    own = [window for window in windows if window["node"] == node]
    times = [line.at for line in lines]
    inside = {id(window): _lines_in(window, lines, times) for window in own}
    if not any(inside.values()):
        raise UsageError(describe_elsewhere(path, own, times))
    _check_above_zero(path, (line for window in own for line in inside[id(window)]))
    rows: list[Row] = []
    counts = dict.fromkeys(("samples", "tasks", "had_power", "too_few", "no_rise"), 0)
    for _, group in groupby(sorted(own, key=_task_key), key=_task_key):
        task = list(group)
        if task[0]["has_power"]:
            counts["had_power"] += 1
        elif any(len(inside[id(window)]) < MIN_SAMPLES for window in task):
            counts["too_few"] += 1
        else:
            counts["tasks"] += 1
            counts["no_rise"] += _has_no_rise(task, inside)
            counts["samples"] += sum(len(inside[id(window)]) for window in task)
            rows += [
                row for window in task for line in inside[id(window)] for row in _rows(window, line)
            ]
    return FilledWindows(rows, **counts)


def _has_no_rise(task: Sequence[Row], inside: Mapping[int, Sequence[LogLine]]) -> bool:
    power_mw: dict[bool, list[float]] = {True: [], False: []}
    for window in task:
        power_mw[window["phase"] == ACTIVE] += [line.power_mw for line in inside[id(window)]]
    return bool(power_mw[False]) and (
        statistics.mean(power_mw[True]) <= statistics.mean(power_mw[False])
    )


def _lines_in(
    window: Row, lines: Sequence[LogLine], times: Sequence[datetime]
) -> Sequence[LogLine]:
    begins_at, ends_at = window["begins_at"], window["ends_at"]
    near = lines[bisect_left(times, begins_at) : bisect_right(times, ends_at)]
    return [line for line in near if line.lies_in(begins_at, ends_at)]


def _rows(window: Row, line: LogLine) -> Iterator[Row]:
    names = ("cell_id", "round", "shard", "node", "phase", "exit_block")
    for rail, power_mw in {**line.rails_mw, TOTAL: line.power_mw}.items():
        yield {name: window[name] for name in names} | {
            "rail": rail,
            "sampled_at": line.at,
            "power_mw": power_mw,
        }


def _task_key(window: Row) -> tuple[str, int, int]:
    return window["cell_id"], window["round"], window["shard"]


def _check_above_zero(path: Path, lines: Iterable[LogLine]) -> None:
    problems = [
        InputProblem(str(path), line.line, "watts", "0, while the node was at work", "more than 0")
        for line in lines
        if not line.power_mw
    ]
    if problems:
        raise BadInputError(problems[:_SHOWN_LINES])
