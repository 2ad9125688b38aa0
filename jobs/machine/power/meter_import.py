"""`gfjobs power import`: writes a wall meter's log into the windows of a run, all or nothing."""

from __future__ import annotations

import statistics
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import storage
from jobs.common.errors import BadInputError, InputProblem, UsageError
from jobs.common.formatting import format_duration
from jobs.machine.power.discovery import METER
from jobs.machine.power.meter_log import LogLine, read_log
from jobs.machine.power.protocol import ACTIVE, MIN_SAMPLES, TOTAL

Row = dict[str, Any]

_SHOWN_LINES = 20
_MINUTE_S = 60


@dataclass(frozen=True)
class ImportedLog:
    """The result of an import.

    Attributes:
        samples: lines of the log that were imported as rows.
        tasks: timed tasks that had no power before and have it now.
        had_power: tasks that already had power and were left unchanged.
        too_few: tasks skipped because one of their windows holds too few lines.
        no_rise: imported tasks that took no more power while running than while idling.
    """

    samples: int
    tasks: int
    had_power: int
    too_few: int
    no_rise: int

    def describe(self) -> str:
        """Return the result as text, one line per count that is not 0."""
        lines = []
        if self.tasks:
            lines.append(f"{self.samples} readings imported into {_tasks(self.tasks)}")
        if self.had_power:
            lines.append(
                f"{_tasks(self.had_power)} already had power: left unchanged; --replace replaces"
                " earlier imports with this log"
            )
        if self.too_few:
            lines.append(
                f"{_tasks(self.too_few)} skipped: a window holds fewer than {MIN_SAMPLES} readings"
            )
        if self.no_rise:
            lines.append(
                f"{_tasks(self.no_rise)} took no more power running than idling: check that the"
                " clocks of meter and node agree"
            )
        return "\n".join(lines)


def import_log(
    root: storage.Root,
    run_id: str,
    path: Path,
    node: str | None = None,
    *,
    is_replacing: bool = False,
    decimal: str | None = None,
) -> ImportedLog:
    """Write a log's readings, in one step, into the windows of a run that have no power yet.

    Args:
        root: the results root.
        run_id: the run; no driver may be working on it.
        path: the log.
        node: the node that was measured, if neither log nor run says so.
        is_replacing: drop, in the same step, what was imported for the log's nodes before.
        decimal: decimal mark of the watts, as for `read_log`.

    Raises:
        BadInputError: lines of the log have problems.
        UsageError: the log names none of the run's nodes, covers another time or is too coarse, or
            a node measured its power itself. Nothing is written then.
    """
    lines = read_log(path, decimal)
    with storage.RunStore.open(root, run_id) as store:
        windows = storage.named_query(
            root, "power_marks", run_ids=[run_id], run_id=run_id
        ).to_pylist()
        by_node = _by_node(lines, {window["node"] for window in windows}, run_id, node)
        _check_sources(store.nodes, by_node)
        if is_replacing:
            windows = [
                w | {"has_power": w["has_power"] and w["node"] not in by_node} for w in windows
            ]
        filled = [_fill(path, windows, name, own) for name, own in by_node.items()]
        rows = [row for each in filled for row in each.rows]
        imported = ImportedLog(
            samples=len(rows),
            tasks=sum(each.tasks for each in filled),
            had_power=sum(each.had_power for each in filled),
            too_few=sum(each.too_few for each in filled),
            no_rise=sum(each.no_rise for each in filled),
        )
        if not rows:
            if imported.had_power:
                return imported
            raise UsageError(_too_coarse(path, windows, lines))
        columns = {name: [row[name] for row in rows] for name in rows[0]}
        table = storage.build_table("power", columns | {"run_id": run_id})
        # The nodes first: rows must never exist without the name of their source.
        store.save_nodes([_named(row, path) if row.node in by_node else row for row in store.nodes])
        if is_replacing:
            store.replace_power(by_node, table)
            store.save_nodes(
                [_renamed(row, path) if row.node in by_node else row for row in store.nodes]
            )
        else:
            store.add_power(table)
        store.merge()
    return imported


@dataclass(frozen=True)
class _Filled:
    """The rows and counts that one node's windows get from the log."""

    rows: list[Row]
    tasks: int
    had_power: int
    too_few: int
    no_rise: int


def _fill(path: Path, windows: Sequence[Row], node: str, lines: Sequence[LogLine]) -> _Filled:
    own = [window for window in windows if window["node"] == node]
    times = [line.at for line in lines]
    inside = {
        id(window): lines[
            bisect_left(times, window["begins_at"]) : bisect_right(times, window["ends_at"])
        ]
        for window in own
    }
    if not any(inside.values()):
        raise UsageError(_elsewhere(path, own, times))
    _check_above_zero(path, (line for window in own for line in inside[id(window)]))
    rows: list[Row] = []
    counts = dict.fromkeys(("tasks", "had_power", "too_few", "no_rise"), 0)
    for _, group in groupby(sorted(own, key=_task_key), key=_task_key):
        task = list(group)
        if task[0]["has_power"]:
            counts["had_power"] += 1
        elif any(len(inside[id(window)]) < MIN_SAMPLES for window in task):
            counts["too_few"] += 1
        else:
            counts["tasks"] += 1
            counts["no_rise"] += _has_no_rise(task, inside)
            rows += [_row(window, line) for window in task for line in inside[id(window)]]
    return _Filled(rows, **counts)


def _has_no_rise(task: Sequence[Row], inside: Mapping[int, Sequence[LogLine]]) -> bool:
    power_mw: dict[bool, list[float]] = {True: [], False: []}
    for window in task:
        power_mw[window["phase"] == ACTIVE] += [line.power_mw for line in inside[id(window)]]
    return bool(power_mw[False]) and (
        statistics.mean(power_mw[True]) <= statistics.mean(power_mw[False])
    )


def _row(window: Row, line: LogLine) -> Row:
    names = ("cell_id", "round", "shard", "node", "phase", "exit_block")
    return {name: window[name] for name in names} | {
        "rail": TOTAL,
        "sampled_at": line.at,
        "power_mw": line.power_mw,
    }


def _task_key(window: Row) -> tuple[str, int, int]:
    return window["cell_id"], window["round"], window["shard"]


def _by_node(
    lines: Sequence[LogLine], nodes: Iterable[str], run_id: str, node: str | None
) -> dict[str, list[LogLine]]:
    """Return the log's lines for each of the run's nodes."""
    known = sorted(nodes)
    if not known:
        raise UsageError(
            f"run {run_id} has no timed rounds to import power into; `measure: [energy]` adds them"
        )
    named = {line.node for line in lines if line.node}
    listed = ", ".join(known)
    if node is not None and node not in known:
        raise UsageError(f"--node {node}: run {run_id} was timed on {listed}")
    if node is None and not named and len(known) > 1:
        raise UsageError(
            f"the log does not say which node it measured, and run {run_id} was timed on"
            f" {listed}: choose one with --node, or add a column node to the log"
        )
    chosen = [node] if node else [name for name in known if name in named or not named]
    by_node = {name: [line for line in lines if line.node in (None, name)] for name in chosen}
    if not any(by_node.values()):
        raise UsageError(
            f"the log names {', '.join(sorted(named))}, but run {run_id} was timed on {listed}; if"
            " the log uses another name for one of them, drop its column node and give --node"
        )
    return by_node


def _check_sources(rows: Iterable[storage.NodeRow], chosen: Iterable[str]) -> None:
    for row in rows:
        if row.node in chosen and row.power_source and not row.power_source.startswith(METER):
            raise UsageError(
                f"node {row.node} measured its power itself ({row.power_source}): adding a log"
                f" would mix two sources. Set GFJOBS_POWER={METER} on that node to use a meter"
            )


def _check_above_zero(path: Path, lines: Iterable[LogLine]) -> None:
    problems = [
        InputProblem(str(path), line.line, "watts", "0, while the node was at work", "more than 0")
        for line in lines
        if not line.power_mw
    ]
    if problems:
        raise BadInputError(problems[:_SHOWN_LINES])


def _elsewhere(path: Path, windows: Sequence[Row], times: Sequence[datetime]) -> str:
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


def _too_coarse(path: Path, windows: Sequence[Row], lines: Sequence[LogLine]) -> str:
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


def _named(row: storage.NodeRow, path: Path) -> storage.NodeRow:
    """Return the node with the log added as a source of its power."""
    if row.power_source in (None, METER):
        return replace(row, power_source=f"{METER}: {path.name}")
    return replace(row, power_source=f"{row.power_source}, {path.name}")


def _renamed(row: storage.NodeRow, path: Path) -> storage.NodeRow:
    """Return the node with the log as the only source of its power."""
    return replace(row, power_source=f"{METER}: {path.name}")


def _tasks(number: int) -> str:
    return f"{number} timed task{'' if number == 1 else 's'}"
