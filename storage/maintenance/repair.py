"""Repairs a run from its remaining files, so that it holds only data that can be trusted."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from storage.errors import StorageError
from storage.maintenance.run_check import Findings, check_run, find_lost_cells
from storage.runs.history import unseal
from storage.runs.manifests import MERGED_PREFIX, Manifest, Snapshot, manifest_bytes
from storage.runs.merge import merge_run, remove_leftovers
from storage.tables.parquet import check_columns, compute_digest, publish_table, read_table
from storage.tables.records import CellRow, RunRow, rows_to_table, table_to_rows
from storage.tables.schemas import SORT_KEYS

if TYPE_CHECKING:
    from storage.backends import Backend, Lease
    from storage.runs.layout import RunPaths


def repair_run(
    backend: Backend, paths: RunPaths, lease: Lease, found: Findings, *, is_ended: bool
) -> None:
    """Reduce a run to data that can be trusted; `found` was seen under this lease."""
    lease.confirm()
    unseal(backend, paths.folder.name)
    kept = found.kept
    for name in found.copies:
        (paths.commits / name.rpartition("/")[2]).delete()
    for name in found.manifests:
        file = name.rpartition("/")[2]
        if file not in kept.superseded and (rebuilt := _rebuilt(paths, file, kept)):
            (paths.commits / file).publish(manifest_bytes(rebuilt))
            live = {
                other: manifest
                for other, manifest in kept.manifests.items()
                if other not in rebuilt.supersedes
            }
            kept = dataclasses.replace(
                kept,
                manifests={**live, file: rebuilt},
                superseded=kept.superseded.union(rebuilt.supersedes),
            )
        else:
            (paths.commits / file).delete()
    cells = table_to_rows(CellRow, read_table(paths.cells))
    lost = [name.rpartition("/")[2] for name in found.lost]
    bad = {*found.cells, *find_lost_cells(cells, lost, kept)}
    if lost or bad:
        merge_run(paths, lease, without=bad, kept=kept)
    elif found.summary:
        merge_run(paths, lease, kept=kept.without_summary())
    else:
        remove_leftovers(paths, kept, lease)
    if is_ended:
        _requeue(paths, lease)
        merge_run(paths, lease)


def _rebuilt(paths: RunPaths, name: str, kept: Snapshot) -> Manifest | None:
    """Rebuild the manifest of a merge from its files; None if it is no merge, or they are unclear.

    The files carry the merge's name, unless it only added a new summary to the files of the merge
    before. Which manifests it superseded follows from what is committed in it.
    """
    if not name.startswith(MERGED_PREFIX):
        return None
    merges: dict[str, dict[str, Backend]] = {}
    for file in paths.data.children():
        table, _, merge = file.name.partition(f"-{MERGED_PREFIX}")
        if table in SORT_KEYS:
            merges.setdefault(merge, {})[table] = file
    whole = {merge: files for merge, files in merges.items() if "commits" in files}
    own = name.removeprefix(MERGED_PREFIX).removesuffix("json")
    of_name = [files for merge, files in whole.items() if merge.startswith(own)]
    candidates = of_name or list(whole.values())
    if len(candidates) != 1:
        return None
    try:
        for table, file in candidates[0].items():
            check_columns(file, table)
        files = {table: (file.name,) for table, file in candidates[0].items()}
        digests = {file.name: compute_digest(file) for file in candidates[0].values()}
        committed = _keys(Snapshot(paths, {name: Manifest((), files)}))
        superseded = tuple(
            other
            for other, manifest in kept.manifests.items()
            if (keys := _keys(Snapshot(paths, {other: manifest}))) and keys <= committed
        )
    except StorageError:
        return None
    return Manifest((), files, superseded, digests)


def _keys(snapshot: Snapshot) -> set[tuple[str, int, int]]:
    return {entry.key for entry in snapshot.entries()}


def _requeue(paths: RunPaths, lease: Lease) -> None:
    """Set the cells of a run that has ended according to the rows that are left."""
    found = check_run(paths, paths.folder.name, is_ended=True)
    if not found.states:
        return
    cells = [
        dataclasses.replace(
            cell, status="queued", rows=found.rows.get(cell.cell_id, 0), is_valid=None
        )
        if cell.cell_id in found.states
        else cell
        for cell in table_to_rows(CellRow, read_table(paths.cells))
    ]
    (run,) = table_to_rows(RunRow, read_table(paths.run))
    lease.confirm()
    # The run first: a run with queued cells has not ended well.
    publish_table(paths.run, rows_to_table(RunRow, [dataclasses.replace(run, status="failed")]))
    publish_table(paths.cells, rows_to_table(CellRow, cells))
