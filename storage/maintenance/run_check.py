"""Checks one run: its files are as written, and its tables agree with each other."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import TYPE_CHECKING

import duckdb

from storage.errors import SchemaVersionError, StorageError
from storage.maintenance.row_check import RowCheck
from storage.runs.manifests import (
    MERGED_PREFIX,
    Manifest,
    Snapshot,
    entries_to_table,
    find_copies,
    manifest_names,
    read_manifest,
)
from storage.runs.merge import rows_sql
from storage.runs.summaries import PLACE, Inputs, create_run_views, is_current
from storage.sql.macros import SUMMARISED
from storage.sql.sandbox import Mount, open_duckdb
from storage.tables.kinds import KINDS, TIMED
from storage.tables.parquet import compute_digest, read_table
from storage.tables.records import CellRow, RunRow, table_to_rows
from storage.tables.schemas import SORT_KEYS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pyarrow as pa

    from storage.runs.layout import RunPaths

_DIGITS = 9
"""Digits to which stored and computed figures must agree: the order of a sum changes the last."""


@dataclasses.dataclass
class Findings:
    """The problems of a run: in each group, the reason by the name of what is wrong.

    `hopeless` cannot be repaired from the remaining files. `copies` are manifests that name what
    others name, so that the rows count without them. `manifests` are damaged; `lost` are data files
    that cannot be trusted; `cells` have rows that cannot be trusted; `states` are cells that
    disagree with the rows; `orphans` are files that no manifest names. `kept` is the snapshot of
    what is left, `rows` the rows of each cell in it.
    """

    kept: Snapshot
    hopeless: dict[str, str] = dataclasses.field(default_factory=dict)
    copies: dict[str, str] = dataclasses.field(default_factory=dict)
    manifests: dict[str, str] = dataclasses.field(default_factory=dict)
    lost: dict[str, str] = dataclasses.field(default_factory=dict)
    cells: dict[str, str] = dataclasses.field(default_factory=dict)
    states: dict[str, str] = dataclasses.field(default_factory=dict)
    orphans: dict[str, str] = dataclasses.field(default_factory=dict)
    summary: dict[str, str] = dataclasses.field(default_factory=dict)
    rows: Mapping[str, int] = dataclasses.field(default_factory=dict)

    def told(self) -> Iterator[tuple[str, str, bool]]:
        """Yield each problem as text, its remedy, and whether a resume must follow the remedy.

        Consequences of a lost file are left out.
        """
        uncommitted = "`gfjobs resume` runs the lost part again"
        is_explained = bool(self.manifests or self.lost)
        for found, remedy, is_resumed in (
            (self.hopeless, "", False),
            (self.copies, "deleted; the rows count once", False),
            (self.manifests, f"deleted; {uncommitted}", True),
            (self.lost, f"deleted; {uncommitted}", True),
            ({} if is_explained else self.cells, f"its rows are deleted; {uncommitted}", True),
            (
                {} if is_explained else self.states,
                "queued again, with its existing rows; `gfjobs resume` runs the rest",
                True,
            ),
            (self.orphans, "deleted", False),
            (self.summary, "computed again from the rows", False),
        ):
            for name, reason in found.items():
                yield f"{name}: {reason}", remedy, is_resumed


def check_run(paths: RunPaths, run_id: str, *, is_ended: bool) -> Findings:
    """Check a run that no process writes meanwhile.

    Args:
        paths: those of the run.
        run_id: that of the run.
        is_ended: whether the states of its cells are final.

    Raises:
        SchemaVersionError: a newer version wrote it.
        OSError: it cannot be read.
    """
    found = Findings(Snapshot(paths, {}))
    manifests = _manifests(paths, found)
    superseded = frozenset(name for each in manifests.values() for name in each.supersedes)
    live = {name: each for name, each in manifests.items() if name not in superseded}
    copies = find_copies(live)
    found.copies.update({f"commits/{name}": why for name, why in copies.items()})
    live = {name: each for name, each in live.items() if name not in copies}
    snapshot = Snapshot(paths, live, superseded)
    _find_lost(snapshot, found)
    found.kept = _without(snapshot, set(found.lost))
    _find_orphans(snapshot, superseded.intersection(manifests), found)
    inputs = _inputs(paths, found)
    if inputs is None:
        return found
    run = table_to_rows(RunRow, inputs.run)
    if [row.run_id for row in run] != [run_id]:
        found.hopeless["run.parquet"] = f"is not of this run: {[row.run_id for row in run]}"
        return found
    with contextlib.closing(open_duckdb()) as connection:
        try:
            _check_rows(connection, run_id, inputs, found, is_ended=is_ended)
            if not any((found.manifests, found.lost, found.cells, found.states)):
                _check_summary(connection, snapshot, inputs, found)
        except duckdb.Error as err:
            found.hopeless["rows"] = f"cannot be read together: {err}"
    return found


def find_lost_cells(cells: tuple[CellRow, ...], files: list[str], kept: Snapshot) -> set[str]:
    """Return the cells with rows in lost files of a merged run, which do not separate shards."""
    tables = {file.partition(f"-{MERGED_PREFIX}")[0] for file in files if MERGED_PREFIX in file}
    is_merged = any(name.startswith(MERGED_PREFIX) for name in kept.manifests)
    if not is_merged:
        return set()
    lost: set[str] = set()
    for cell in cells:
        is_reference = (cell.runtime, cell.precision) == ("torch", "float32")
        had = {
            "commits": True,
            "rounds": cell.kind in TIMED,
            "power": cell.kind in TIMED,
            "reference_agreement": not is_reference,
            **{kind.table: cell.kind == kind.name for kind in KINDS.values()},
        }
        if any(had.get(table) for table in tables):
            lost.add(cell.cell_id)
    return lost


def _manifests(paths: RunPaths, found: Findings) -> dict[str, Manifest]:
    manifests = {}
    for name in manifest_names(paths):
        try:
            manifests[name] = read_manifest(paths.commits / name)
        except StorageError as err:  # all that are damaged
            if isinstance(err, SchemaVersionError):
                raise
            found.manifests[f"commits/{name}"] = f"cannot be read ({err.__cause__})"
    return manifests


def _find_lost(snapshot: Snapshot, found: Findings) -> None:
    """Check that each named file exists, and is as written."""
    digests = snapshot.digests
    summary = snapshot.summary
    extra = list(summary.files.values()) if summary else []
    for name in [file.name for table in SORT_KEYS for file in snapshot.files(table)] + extra:
        backend = snapshot.paths.data / name
        reason = ""
        try:
            if name in digests:
                if (digest := compute_digest(backend)) != digests[name]:
                    reason = f"has SHA-256 {digest[:12]}…, but {digests[name][:12]}… was written"
            else:
                read_table(backend)
        except FileNotFoundError:
            reason = "is missing"
        except (OSError, StorageError) as err:
            reason = f"cannot be read ({err})"
        if reason:
            (found.summary if name in extra else found.lost)[f"data/{name}"] = reason


def _without(snapshot: Snapshot, lost: set[str]) -> Snapshot:
    """Return a snapshot without lost files: a shard is dropped whole, a merge keeps its others."""
    kept, dropped = {}, {}
    for name, manifest in snapshot.manifests.items():
        is_hit = any(f"data/{file}" in lost for files in manifest.files.values() for file in files)
        if not is_hit:
            kept[name] = manifest
        elif name.startswith(MERGED_PREFIX):
            files = {
                table: tuple(file for file in files if f"data/{file}" not in lost)
                for table, files in manifest.files.items()
            }
            kept[name] = dataclasses.replace(manifest, files=files, summary=None)
        else:
            dropped[name] = manifest
    dead = {name for manifest in dropped.values() for name in manifest.named()}
    return dataclasses.replace(
        snapshot,
        manifests=kept,
        superseded=snapshot.superseded | dropped.keys(),
        dead_files=snapshot.dead_files | dead,
    )


def _find_orphans(snapshot: Snapshot, dead: frozenset[str], found: Findings) -> None:
    named = {name for manifest in snapshot.manifests.values() for name in manifest.named()}
    for backend in snapshot.paths.data.children():
        if backend.name not in named:
            found.orphans[f"data/{backend.name}"] = "no manifest names it"
    for name in sorted(dead):
        found.orphans[f"commits/{name}"] = "another manifest supersedes it"


def _inputs(paths: RunPaths, found: Findings) -> Inputs | None:
    try:
        inputs = Inputs.read(paths)
        inputs.tables()
    except SchemaVersionError:
        raise
    except StorageError as err:
        found.hopeless["run.parquet, cells.parquet, nodes.parquet"] = f"one is damaged: {err}"
        return None
    except FileNotFoundError as err:
        found.hopeless["cells.parquet"] = f"is missing: {err}"
        return None
    return inputs


def _check_rows(
    connection: duckdb.DuckDBPyConnection,
    run_id: str,
    inputs: Inputs,
    found: Findings,
    *,
    is_ended: bool,
) -> None:
    """Check that rows are unique, and agree with the commits and the cells."""
    entries = entries_to_table(run_id, found.kept.unmerged_entries)
    connection.register("new_commits", entries)
    mount = Mount(connection, found.kept.paths.folder)
    mount.open_ahead([file for table in SORT_KEYS for file in found.kept.files(table)])
    scans = {table: sql for table in SORT_KEYS if (sql := rows_sql(table, found.kept, mount))}
    create_run_views(connection, inputs.tables(), scans)
    cells = table_to_rows(CellRow, inputs.tables()["cells"])
    check = RowCheck(connection, cells)
    found.hopeless.update(check.foreign(run_id))
    found.cells.update(check.untrusted())
    found.rows = check.rows()
    for cell in cells if is_ended else ():
        rows = found.rows.get(cell.cell_id, 0)
        if cell.rows != rows:
            found.states[cell.cell_id] = (
                f"{cell.kind} of {cell.model} says {cell.status} with {cell.rows:,} rows, "
                f"but {rows:,} exist"
            )


def _check_summary(
    connection: duckdb.DuckDBPyConnection, snapshot: Snapshot, inputs: Inputs, found: Findings
) -> None:
    """Compare a summary that readers use with the rows."""
    if snapshot.summary is None or not is_current(snapshot.summary, inputs) or found.summary:
        return
    for view in SUMMARISED:
        name = snapshot.summary.files[view]
        stored = read_table(snapshot.paths.data / name).drop_columns([PLACE])
        if _rounded(stored) != _rounded(connection.sql(f"FROM {view}").to_arrow_table()):
            found.summary[f"data/{name}"] = "does not match the rows"


def _rounded(table: pa.Table) -> list[list[object]]:
    return [
        [
            float(f"{value:.{_DIGITS}g}") if isinstance(value, float) else value
            for value in column.to_pylist()
        ]
        for column in table.columns
    ]
