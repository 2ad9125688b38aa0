"""Temperatures and clocks of a log of tegrastats, for rounds that have none.

A figure that the node read itself stays; `from_log` of a row names those that a log gave. What a
log has no word of, such as throttling, trip points and the fan, stays NULL.
"""

from __future__ import annotations

import statistics
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import storage
from jobs.machine.devices import CPU
from jobs.machine.power.tegrastats_log import BoardLine

Row = dict[str, Any]

FROM_LOG = "from_log"
"""The column that names the columns which a log has given to a row."""

_HOTTEST = "tj"


@dataclass(frozen=True)
class FilledRounds:
    """What the rounds of a run get from a log.

    Attributes:
        rows: of `rounds`, whole, that replace those which are there.
        filled: how many of them have a figure of this log.
        columns: those that some round gets.
        complete: rounds during which the log has lines, and which lack nothing that it could give.
    """

    rows: list[Row]
    filled: int = 0
    columns: tuple[str, ...] = ()
    complete: int = 0


def fill_rounds(
    rounds: Iterable[Row],
    nodes: Iterable[storage.NodeRow],
    by_node: Mapping[str, Sequence[BoardLine]],
    *,
    is_replacing: bool,
) -> FilledRounds:
    """Return what rounds get from the lines taken during them.

    Args:
        rounds: rows of `rounds`, with `device` of their cell.
        nodes: of the run.
        by_node: lines of the log for each node, by time.
        is_replacing: what an earlier log gave does not stay.
    """
    rows: list[Row] = []
    columns: set[str] = set()
    filled, complete = 0, 0
    gpus = {row.node for row in nodes if row.accelerator}
    for row in rounds:
        if row["node"] not in by_node:
            continue
        own = {name: value for name, value in row.items() if name != "device"}
        before = own | dict.fromkeys((*_names(own), FROM_LOG)) if is_replacing else own
        is_gpu = row["node"] in gpus and row["device"] != CPU
        lines = _lines_of(row, by_node[row["node"]])
        state = _state(lines, is_gpu=is_gpu)
        given = {name: v for name, v in state.items() if v is not None and before[name] is None}
        named = ", ".join(sorted({*_names(before), *given})) or None
        after = before | given | {FROM_LOG: named}
        complete += bool(lines) and not given
        if after != own:
            rows.append(after)
            filled += bool(given)
            columns.update(given)
    return FilledRounds(rows, filled, tuple(sorted(columns)), complete)


def _names(row: Row) -> tuple[str, ...]:
    """Return the columns that a log has given to a row of `rounds`."""
    named: str | None = row[FROM_LOG]
    return tuple(named.split(", ")) if named else ()


def _lines_of(round_: Row, lines: Sequence[BoardLine]) -> Sequence[BoardLine]:
    begins_at, ends_at = round_["started_at"], round_["ended_at"]
    if begins_at is None or ends_at is None:
        return ()
    near = lines[bisect_left(lines, begins_at, key=_at) : bisect_right(lines, ends_at, key=_at)]
    return [line for line in near if line.lies_in(begins_at, ends_at)]


def _at(line: BoardLine) -> Any:
    return line.at


def _state(lines: Sequence[BoardLine], *, is_gpu: bool) -> Mapping[str, float | None]:
    """Return mean clocks, and the highest temperature of the device or else of the chip."""
    zone = "gpu" if is_gpu else "cpu"
    heat = [line.temperatures_c.get(zone, line.temperatures_c.get(_HOTTEST)) for line in lines]
    cpu_clock_mhz = _mean(line.cpu_clock_mhz for line in lines)
    return {
        "clock_mhz": _mean(line.clock_mhz for line in lines) if is_gpu else cpu_clock_mhz,
        "temperature_c": max((c for c in heat if c is not None), default=None),
        "cpu_clock_mhz": cpu_clock_mhz,
        "emc_clock_mhz": _mean(line.emc_clock_mhz for line in lines),
    }


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None
