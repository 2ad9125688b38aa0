"""`gfjobs power import`: a wall meter's log put into the windows of a run, all or nothing."""

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
    """What an import did.

    Attributes:
        samples: lines of the log that are rows now.
        tasks: timed tasks that have power now and had none.
        had_power: tasks that had it already, and were left as they are.
        too_few: tasks left out, since a window of theirs holds fewer lines than it needs.
        no_rise: imported tasks that took no more power while they ran than idling.
    """

    samples: int
    tasks: int
    had_power: int
    too_few: int
    no_rise: int

    def describe(self) -> str:
        """In words, one line each."""
        lines = []
        if self.tasks:
            lines.append(f"{self.samples} readings imported into {_tasks(self.tasks)}")
        if self.had_power:
            lines.append(
                f"{_tasks(self.had_power)} had power already: left as they are; with --replace this"
                " log takes the place of what was imported"
            )
        if self.too_few:
            lines.append(
                f"{_tasks(self.too_few)} left without: a window holds fewer than {MIN_SAMPLES}"
                " readings"
            )
        if self.no_rise:
            lines.append(
                f"{_tasks(self.no_rise)} took no more power than idling: see that the clocks of"
                " meter and node agree"
            )
        return "\n".join(lines)


def import_log(
    root: storage.Root,
    run_id: str,
    path: Path,
    node: str | None = None,
    *,
    is_replacing: bool = False,
) -> ImportedLog:
    """Put a log's readings into the windows of a run that have no power yet; in one step.

    Args:
        root: the results root.
        run_id: the run; nobody may be running it.
        path: the log.
        node: whose power it is, where log and run do not say.
        is_replacing: what was imported for the log's nodes before goes, in the same step.

    Raises:
        BadInputError: lines of the log have problems.
        UsageError: the log is of none of the run's nodes or of another time, too coarse, or a node
            measured its power itself. Nothing is written then.
    """
    lines = read_log(path)
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
        # The nodes first: rows must not be there without the name of what gave them.
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
    """One node's windows with the log in them."""

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
    """The log's lines by the run's nodes."""
    known = sorted(nodes)
    if not known:
        raise UsageError(
            f"run {run_id} has no timed rounds that a log could say the power of; `measure:"
            " [energy]` makes some"
        )
    named = {line.node for line in lines if line.node}
    listed = ", ".join(known)
    if node is not None and node not in known:
        raise UsageError(f"--node {node}: run {run_id} was timed on {listed}")
    if node is None and not named and len(known) > 1:
        raise UsageError(
            f"the log does not say whose power it is, and run {run_id} was timed on {listed}: give"
            " one with --node, or a column node"
        )
    chosen = [node] if node else [name for name in known if name in named or not named]
    by_node = {name: [line for line in lines if line.node in (None, name)] for name in chosen}
    if not any(by_node.values()):
        raise UsageError(
            f"the log is of {', '.join(sorted(named))}, and run {run_id} was timed on {listed}; if"
            " one of them goes by another name there, leave the column node out and give --node"
        )
    return by_node


def _check_sources(rows: Iterable[storage.NodeRow], chosen: Iterable[str]) -> None:
    for row in rows:
        if row.node in chosen and row.power_source and not row.power_source.startswith(METER):
            raise UsageError(
                f"node {row.node} measured its power itself ({row.power_source}): a log beside it"
                f" would mix two things. GFJOBS_POWER={METER} on that node leaves power to a meter"
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
    """No line lies in any window: say how far away the nearest is."""
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
        f"{path} says nothing of the time in which node {windows[0]['node']} was timed,"
        f" {_utc(first)} to {_utc(last)}; it goes from {_utc(times[0])} to {_utc(times[-1])}, and"
        f" its nearest line is {_gap(gap_s)} too {'early' if is_early else 'late'}: is a clock"
        " off, or its zone wrong? Nothing was written"
    )


def _gap(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < _MINUTE_S else format_duration(seconds)


def _utc(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"


def _around(times: Sequence[datetime], window: Row) -> Sequence[datetime]:
    """The last line before a window, and the first after it."""
    place = bisect_left(times, window["begins_at"])
    return times[max(place - 1, 0) : place + 1]


def _too_coarse(path: Path, windows: Sequence[Row], lines: Sequence[LogLine]) -> str:
    gaps = [(after.at - before.at).total_seconds() for before, after in pairwise(lines)]
    shortest_s = min((w["ends_at"] - w["begins_at"]).total_seconds() for w in windows)
    gap_s = statistics.median(gaps) if gaps else None
    if gap_s is not None and gap_s * MIN_SAMPLES <= shortest_s:
        return (
            f"{path} covers no task whole: it goes from {_utc(lines[0].at)} to"
            f" {_utc(lines[-1].at)}, and the run was timed from"
            f" {_utc(min(w['begins_at'] for w in windows))} to"
            f" {_utc(max(w['ends_at'] for w in windows))}. A task needs {MIN_SAMPLES} lines in"
            " each of its windows: export the meter's log again, of the whole time. Nothing was"
            " written"
        )
    often = "one line" if gap_s is None else f"a line every {gap_s:g} s"
    return (
        f"{path} has {often}, and no task has {MIN_SAMPLES} of them in each of its windows, of"
        f" which the shortest lasts {shortest_s:.1f} s: make them longer in the grid, as in energy:"
        " {idle_s: 10, active_s: 10}, and run it again. Nothing was written"
    )


def _named(row: storage.NodeRow, path: Path) -> storage.NodeRow:
    """The node, with the log as what measured its power."""
    if row.power_source in (None, METER):
        return replace(row, power_source=f"{METER}: {path.name}")
    return replace(row, power_source=f"{row.power_source}, {path.name}")


def _renamed(row: storage.NodeRow, path: Path) -> storage.NodeRow:
    """The node, with the log as all that measured its power."""
    return replace(row, power_source=f"{METER}: {path.name}")


def _tasks(number: int) -> str:
    return f"{number} timed task{'' if number == 1 else 's'}"
