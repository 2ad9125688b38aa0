"""Rebuilds the small tables of a run, its row, cells and nodes, if one cannot be read.

There are two sources: the history, which has an exact copy of a finished run's tables, and the grid
of the run, from which a planner makes the cells again. The commits show which of these cells are
done, and by their cell_ids that the cells are the same.
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
from storage.runs.listing import find_owner, read_cell_rows, read_node_rows, read_row
from storage.runs.manifests import read_snapshot
from storage.runs.submission import parse_submission
from storage.tables.parquet import compute_digest, keep_aside, publish_table, read_table
from storage.tables.records import CellRow, NodeRow, RunRow, rows_to_table
from storage.tables.schemas import SORT_KEYS

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    import pyarrow as pa

    from storage.backends import Backend
    from storage.runs.layout import RunPaths
    from storage.runs.manifests import CommitEntry, Snapshot

FORGOTTEN = "the details of this node were lost with nodes.parquet"


@dataclasses.dataclass(frozen=True)
class Remains:
    """What is left of a run; a part that cannot be read is None.

    Rounds are committed ones, as (cell_id, round): `throttled` are the throttled rounds, and
    `unanswered` counts per round the images whose logits are not finite.
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
    """A run as planned again from its grid and its rows."""

    run: RunRow
    cells: tuple[CellRow, ...]


Planner = Callable[[Remains], "Replanned | str"]
"""Rebuilds a run from what is left of it, or returns why that is impossible."""


@dataclasses.dataclass(frozen=True)
class Restoration:
    """Tables that can be rebuilt, by name, and how; or why that is impossible."""

    tables: Mapping[str, pa.Table]
    how: str
    why_not: str = ""


def damaged_tables(paths: RunPaths) -> dict[str, str]:
    """Return which of a run's small tables are damaged, with the reason by name.

    Raises:
        SchemaVersionError: a newer version wrote one.
        OSError: one cannot be read for another reason.
    """
    found = {}
    for name, read in (
        ("runs", lambda: read_row(paths)),
        ("cells", lambda: read_cell_rows(paths)),
        ("nodes", lambda: read_node_rows(paths)),
    ):
        try:
            read()
        except DamagedError as err:  # all that are damaged
            found[name] = str(err.__cause__ or err)
        except FileNotFoundError:  # no node has worked yet, or the run was removed meanwhile
            continue
    return found


def find_owner_of_rows(paths: RunPaths) -> str | None:
    """Return another run whose rows are committed in a run's folder; None if it has its own."""
    files: list[Backend] = []
    with contextlib.suppress(StorageError, OSError):  # what cannot be read is reported by itself
        snapshot = read_snapshot(paths)
        files = [file for table in SORT_KEYS for file in snapshot.files(table)]
    for file in files:
        with contextlib.suppress(StorageError, OSError):
            if owner := find_owner(read_table(file, ["run_id"]), paths.folder.name):
                return owner
    return None


def restoration(
    root: Backend, paths: RunPaths, damaged: Collection[str], planner: Planner | None
) -> Restoration:
    """Find out how damaged tables can be rebuilt; nothing is written.

    Args:
        root: the results root.
        paths: those of the run.
        damaged: names from `damaged_tables`.
        planner: without one, the run's row and cells can only come from the history.
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
        replanned = planner(remains) if planner else "its grid cannot be planned here"
        if not isinstance(replanned, Replanned):
            return Restoration({}, "", f"the history has no copy; {replanned}")
        if "runs" in damaged:
            tables["runs"] = rows_to_table(RunRow, [replanned.run])
            hows.append(
                "rebuilt from its grid; its times are those of its first and last commit, and its "
                "gfjobs version is lost"
            )
        if "cells" in damaged:
            tables["cells"] = rows_to_table(CellRow, replanned.cells)
            hows.append(
                "planned again from its grid, and done if their rows are committed; times, "
                "attempts and errors of cells are lost"
            )
        remains = dataclasses.replace(remains, cells=replanned.cells)
    if "nodes" in damaged:
        tables["nodes"] = rows_to_table(NodeRow, _nodes_of(remains))
        hows.append("nodes by their names in the commits; their details are lost")
    return Restoration(tables, "; ".join(hows))


def restore(paths: RunPaths, found: Restoration) -> None:
    """Write rebuilt tables, and keep the damaged files next to them. The caller holds the lease.

    Raises: OSError: it cannot be written.
    """
    # The run's row last: other processes look at it.
    for name in sorted(found.tables, key=("nodes", "cells", "runs").index):
        backend = _place(paths, name)
        if backend.is_file():
            keep_aside(paths.folder, backend.name)
        publish_table(backend, found.tables[name])


def find_file(name: str) -> str:
    """Return the file name of a small table."""
    return "run.parquet" if name == "runs" else f"{name}.parquet"


def _place(paths: RunPaths, name: str) -> Backend:
    return paths.folder / find_file(name)


def _copied(root: Backend, run_id: str, damaged: Collection[str]) -> dict[str, pa.Table]:
    """Return the history's copy of tables; empty if the run is not in it or the copy is damaged."""
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
        nodes = read_node_rows(paths)
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
    """Count unanswered images; empty if the rows are damaged too, as their cells run again."""
    with contextlib.suppress(StorageError, OSError):
        return snapshot.unanswered_images()
    return {}


def _submission(paths: RunPaths) -> dict[str, str]:
    """Read the submission; empty if it is damaged too."""
    with contextlib.suppress(FileNotFoundError, DamagedError):
        return parse_submission(paths.submission)
    return {}


def find_submission_fault(paths: RunPaths) -> str | None:
    """Return what is wrong with a run's submission; None if nothing is.

    Raises: OSError: it cannot be read for another reason.
    """
    try:
        parse_submission(paths.submission)
    except DamagedError as err:
        return str(err.__cause__ or "not an object of texts")
    except FileNotFoundError:
        return "it is missing" if paths.run.is_file() else None
    return None


def restore_submission(paths: RunPaths) -> None:
    """Write a submission of the grid that the run's row has. The caller holds the lease.

    Raises: OSError: it cannot be written.
    """
    if paths.submission.is_file():
        keep_aside(paths.folder, paths.submission.name)
    paths.submission.publish(json.dumps({"grid": read_row(paths).grid or ""}).encode())


def _nodes_of(remains: Remains) -> list[NodeRow]:
    """Return the nodes that commits name, with the device of their timed cells."""
    devices = {cell.node: cell.device for cell in remains.cells or () if cell.node}
    names = sorted({entry.node for entry in remains.entries if entry.node})
    return [NodeRow(remains.run_id, name, devices.get(name), note=FORGOTTEN) for name in names]
