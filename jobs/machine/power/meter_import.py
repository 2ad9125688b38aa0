"""`gfjobs power import`: writes the log of a meter or of tegrastats into a run, all or nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import storage
from jobs.common.errors import UsageError
from jobs.machine.power.board_state import FilledRounds, fill_rounds
from jobs.machine.power.discovery import METER
from jobs.machine.power.imported_log import ImportedLog
from jobs.machine.power.meter_log import LogLine, read_log
from jobs.machine.power.tegrastats_log import BoardLine, read_tegrastats
from jobs.machine.power.tegrastats_times import LogTimes
from jobs.machine.power.unfit_log import describe_unfit
from jobs.machine.power.window_fill import FilledWindows, fill_windows

Row = dict[str, Any]

TEGRASTATS = "tegrastats"
"""Begins the name of a power source that was imported from such a log."""


@dataclass(frozen=True)
class _Log:
    """A log that was read.

    Attributes:
        path: its file.
        lines: sorted by time.
        source: begins the name of its nodes' power source, before the names of files.
        is_of_board: it is one of tegrastats.
        has_total: it says the power of the whole machine or board.
    """

    path: Path
    lines: Sequence[LogLine]
    source: str
    is_of_board: bool = False
    has_total: bool = True


def import_log(
    root: storage.Root,
    run_id: str,
    path: Path,
    node: str | None = None,
    *,
    is_replacing: bool = False,
    decimal: str | None = None,
    board_times: LogTimes | None = None,
) -> ImportedLog:
    """Write a log's readings, in one step, into the windows of a run that have no power yet.

    A log of tegrastats also gives temperature and clocks to rounds that have none.

    Args:
        root: the results root.
        run_id: the run; no driver may be working on it.
        path: the log.
        node: the node that was measured, if neither log nor run says so.
        is_replacing: drop, in the same step, what was imported for the log's nodes before.
        decimal: decimal mark of the watts, as for `read_log`.
        board_times: the log is one of tegrastats, and this is said of its times.

    Raises:
        BadInputError: lines of the log have problems.
        UsageError: the log names none of the run's nodes, covers another time or is too coarse, or
            a node has power of another source. Nothing is written then.
    """
    log = _read(path, decimal, board_times)
    with storage.RunStore.open(root, run_id) as store:
        windows = storage.named_query(
            root, "power_marks", run_ids=[run_id], run_id=run_id
        ).to_pylist()
        by_node = _by_node(log.lines, {window["node"] for window in windows}, run_id, node)
        own_power = _check_sources(store.nodes, by_node, log, is_replacing=is_replacing)
        metered = [name for name in by_node if log.has_total and name not in own_power]
        if is_replacing:
            windows = [
                w | {"has_power": w["has_power"] and w["node"] not in metered} for w in windows
            ]
        filled = {name: fill_windows(path, windows, name, by_node[name]) for name in metered}
        state = _state(root, store, by_node, is_replacing=is_replacing)
        imported = _count(filled.values(), state, own_power, log)
        if not imported.samples and not state.rows:
            if imported.had_power or state.complete:
                return imported
            raise UsageError(describe_unfit(path, windows, log.lines))
        _write(store, log, filled, state, is_replacing=is_replacing)
    return imported


def _read(path: Path, decimal: str | None, board_times: LogTimes | None) -> _Log:
    if board_times is None:
        return _Log(path, read_log(path, decimal), f"{METER}: ")
    lines, summed = read_tegrastats(path, board_times)
    source = f"{TEGRASTATS}: {' + '.join(summed)} of "
    return _Log(path, lines, source, is_of_board=True, has_total=bool(summed))


def _state(
    root: storage.Root,
    store: storage.RunStore,
    by_node: Mapping[str, Sequence[LogLine]],
    *,
    is_replacing: bool,
) -> FilledRounds:
    """Return what the run's rounds get from lines of a board; nothing from those of a meter."""
    board = {
        name: [line for line in lines if isinstance(line, BoardLine)]
        for name, lines in by_node.items()
    }
    if not any(board.values()):
        return FilledRounds([])
    run_id = store.run.run_id
    sql = "SELECT r.*, c.device FROM rounds r JOIN cells c USING (run_id, cell_id)"
    rounds = storage.query(root, sql, run_ids=[run_id]).to_pylist()
    return fill_rounds(rounds, store.nodes, board, is_replacing=is_replacing)


def _count(
    filled: Collection[FilledWindows], state: FilledRounds, own_power: Mapping[str, str], log: _Log
) -> ImportedLog:
    return ImportedLog(
        samples=sum(each.samples for each in filled),
        tasks=sum(each.tasks for each in filled),
        had_power=sum(each.had_power for each in filled),
        too_few=sum(each.too_few for each in filled),
        no_rise=sum(each.no_rise for each in filled),
        rounds=state.filled,
        columns=state.columns,
        complete=state.complete,
        own_power=own_power,
        rails=() if log.has_total else tuple(sorted(log.lines[0].rails_mw)),
    )


def _write(
    store: storage.RunStore,
    log: _Log,
    filled: Mapping[str, FilledWindows],
    state: FilledRounds,
    *,
    is_replacing: bool,
) -> None:
    rows = [row for each in filled.values() for row in each.rows]
    power = _table(store, "power", rows)
    late = _table(store, "rounds", state.rows) if state.rows else None
    powered = [name for name, each in filled.items() if each.rows or (is_replacing and rows)]
    # The nodes first: rows must never exist without the name of their source.
    store.save_nodes([_named(row, log, powered) for row in store.nodes])
    if not is_replacing and late is None:
        store.add_power(power)
    else:
        has_rails = any((row.power_source or "").startswith(TEGRASTATS) for row in store.nodes)
        store.replace_power(powered if is_replacing else (), power, late, has_rails=has_rails)
        if is_replacing:
            store.save_nodes([_renamed(row, log, powered) for row in store.nodes])
    store.merge()


def _table(store: storage.RunStore, name: str, rows: Sequence[Row]) -> Any:
    """Return rows as a table; without rows, an empty one."""
    columns = {key: [row[key] for row in rows] for key in (rows[0] if rows else ("round",))}
    return storage.build_table(name, columns | {"run_id": store.run.run_id})


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


def _check_sources(
    rows: Iterable[storage.NodeRow], chosen: Collection[str], log: _Log, *, is_replacing: bool
) -> dict[str, str]:
    """Return the power sources of the nodes that measured their power themselves.

    Raises:
        UsageError: the log would add a second source to a node's power.
    """
    own_power = {}
    for row in rows:
        source = row.power_source
        if row.node not in chosen or source is None:
            continue
        if not source.startswith((METER, TEGRASTATS)):
            if not log.is_of_board:
                raise UsageError(
                    f"node {row.node} measured its power itself ({source}): adding a log would mix"
                    f" two sources. Set GFJOBS_POWER={METER} on that node to use a meter"
                )
            own_power[row.node] = source
        elif source != METER and not source.startswith(log.source) and not is_replacing:
            raise UsageError(
                f"node {row.node} has power from another source ({source}): adding this log would"
                " mix two; --replace drops what was imported before"
            )
    return own_power


def _named(row: storage.NodeRow, log: _Log, powered: Collection[str]) -> storage.NodeRow:
    """Return the node with the log added as a source of its power."""
    if row.node not in powered:
        return row
    if row.power_source in (None, METER):
        return replace(row, power_source=f"{log.source}{log.path.name}")
    return replace(row, power_source=f"{row.power_source}, {log.path.name}")


def _renamed(row: storage.NodeRow, log: _Log, powered: Collection[str]) -> storage.NodeRow:
    """Return the node with the log as the only source of its power."""
    if row.node not in powered:
        return row
    return replace(row, power_source=f"{log.source}{log.path.name}")
