"""Making the small tables of a run again, its row, cells and nodes, where one cannot be read.

Two things hold the same facts: the history, which has a copy of a finished run's as they are, and
what the run was made of, its grid, from which whoever can plan makes the cells again. What is
committed says which of these are done, and by its cell_ids that they are the same.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Callable
from typing import TYPE_CHECKING

import pyarrow.compute as pc

from storage.errors import DamagedError, StorageError
from storage.runs.history import History
from storage.runs.listing import read_cell_rows, read_row
from storage.runs.manifests import read_snapshot
from storage.tables.parquet import compute_digest, keep_aside, publish_table, read_table
from storage.tables.records import CellRow, NodeRow, RunRow, rows_to_table, table_to_rows

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    import pyarrow as pa

    from storage.backends import Backend
    from storage.runs.layout import RunPaths
    from storage.runs.manifests import CommitEntry, Snapshot

FORGOTTEN = "what this node is was lost with nodes.parquet"


@dataclasses.dataclass(frozen=True)
class Remains:
    """What is left of a run: what cannot be read is None.

    Of the committed rounds, as (cell_id, round), `throttled` are those that a throttled machine
    spoilt, and `unanswered` counts the images whose logits are not finite.
    """

    run_id: str
    run: RunRow | None
    cells: tuple[CellRow, ...] | None
    nodes: tuple[NodeRow, ...]
    submission: Mapping[str, str]
    entries: tuple[CommitEntry, ...]
    throttled: frozenset[tuple[str, int]]
    unanswered: Mapping[tuple[str, int], int]


@dataclasses.dataclass(frozen=True)
class Replanned:
    """A run as its grid and its rows give it."""

    run: RunRow
    cells: tuple[CellRow, ...]


Planner = Callable[[Remains], "Replanned | str"]
"""Makes a run again of what is left of it, or says why that cannot be done."""


@dataclasses.dataclass(frozen=True)
class Restoration:
    """What can be made again: tables by name, and in what way; or why that is not possible."""

    tables: Mapping[str, pa.Table]
    how: str
    why_not: str = ""


def damaged_tables(paths: RunPaths) -> dict[str, str]:
    """Say which of the small tables of a run cannot be read, and why.

    Raises:
        SchemaVersionError: a newer version wrote one.
        OSError: one cannot be read for another reason.
    """
    found = {}
    for name, read in (
        ("runs", lambda: read_row(paths)),
        ("cells", lambda: read_cell_rows(paths)),
        ("nodes", lambda: _nodes(paths)),
    ):
        try:
            read()
        except DamagedError as err:  # all that are damaged
            found[name] = str(err.__cause__ or err)
        except FileNotFoundError:  # of nodes: no node worked yet; else removed meanwhile
            continue
    return found


def restoration(
    root: Backend, paths: RunPaths, damaged: Collection[str], planner: Planner | None
) -> Restoration:
    """Find out how damaged tables can be made again; nothing is written.

    Args:
        root: the results root.
        paths: of the run.
        damaged: as `damaged_tables` says.
        planner: without one the history alone is asked for the run and its cells.
    """
    run_id = paths.folder.name
    if copied := _copied(root, run_id, damaged):
        return Restoration(copied, "taken from its copy in the history")
    try:
        snapshot = read_snapshot(paths)
        remains = _remains(paths, damaged, snapshot)
    except (StorageError, OSError) as err:
        return Restoration({}, "", f"what is committed cannot be read either: {err}")
    tables: dict[str, pa.Table] = {}
    hows = []
    if {"runs", "cells"}.intersection(damaged):
        replanned = planner(remains) if planner else "nobody can plan its grid here"
        if not isinstance(replanned, Replanned):
            return Restoration({}, "", f"the history has no copy; {replanned}")
        if "runs" in damaged:
            tables["runs"] = rows_to_table(RunRow, [replanned.run])
            hows.append(
                "made of its grid; its times are those of its first and last commit, and which "
                "gfjobs made it is lost"
            )
        if "cells" in damaged:
            tables["cells"] = rows_to_table(CellRow, replanned.cells)
            hows.append(
                "planned again from its grid, done as far as rows are committed; times, attempts "
                "and errors of cells are lost"
            )
        remains = dataclasses.replace(remains, cells=replanned.cells)
    if "nodes" in damaged:
        tables["nodes"] = rows_to_table(NodeRow, _nodes_of(remains))
        hows.append("nodes by the names that its commits have; what they were is lost")
    return Restoration(tables, "; ".join(hows))


def restore(paths: RunPaths, found: Restoration) -> None:
    """Write what was made again; what was there is kept beside it. The caller holds the lease.

    Raises: OSError: it cannot be written.
    """
    # The run's row last: it is what others look at.
    for name in sorted(found.tables, key=("nodes", "cells", "runs").index):
        backend = _place(paths, name)
        if backend.is_file():
            keep_aside(paths.folder, backend.name)
        publish_table(backend, found.tables[name])


def find_file(name: str) -> str:
    """What the file of a small table is called."""
    return "run.parquet" if name == "runs" else f"{name}.parquet"


def _place(paths: RunPaths, name: str) -> Backend:
    return paths.folder / find_file(name)


def _nodes(paths: RunPaths) -> tuple[NodeRow, ...]:
    return table_to_rows(NodeRow, read_table(paths.nodes))


def _copied(root: Backend, run_id: str, damaged: Collection[str]) -> dict[str, pa.Table]:
    """The history's copy of tables, if the run is one of it and the copy is whole."""
    try:
        history = History.read(root)
        if history is None or run_id not in history.runs:
            return {}
        copied = {}
        for name in damaged:
            file = history.file(name)
            if compute_digest(file) != history.digests.get(file.name):
                return {}
            copied[name] = read_table(file).filter(pc.field("run_id") == run_id)
    except (StorageError, OSError):
        return {}
    return copied


def _remains(paths: RunPaths, damaged: Collection[str], snapshot: Snapshot) -> Remains:
    nodes: tuple[NodeRow, ...] = ()
    if "nodes" not in damaged and paths.nodes.is_file():
        nodes = _nodes(paths)
    return Remains(
        run_id=paths.folder.name,
        run=None if "runs" in damaged else read_row(paths),
        cells=None if "cells" in damaged else read_cell_rows(paths),
        nodes=nodes,
        submission=_submission(paths),
        entries=snapshot.entries(),
        throttled=snapshot.throttled_rounds(),
        unanswered=_unanswered(snapshot),
    )


def _unanswered(snapshot: Snapshot) -> Mapping[tuple[str, int], int]:
    """Nothing where rows are damaged too: their cells run again."""
    with contextlib.suppress(StorageError, OSError):
        return snapshot.unanswered_images()
    return {}


def _submission(paths: RunPaths) -> dict[str, str]:
    """Nothing where it is damaged too."""
    with contextlib.suppress(FileNotFoundError, ValueError):
        return dict(json.loads(paths.submission.read()))
    return {}


def _nodes_of(remains: Remains) -> list[NodeRow]:
    """The nodes that commits name, with the device that their timed cells had."""
    devices = {cell.node: cell.device for cell in remains.cells or () if cell.node}
    names = sorted({entry.node for entry in remains.entries if entry.node})
    return [NodeRow(remains.run_id, name, devices.get(name), note=FORGOTTEN) for name in names]
