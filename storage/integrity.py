"""Checking results, and repairing what can be repaired from what is there."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pyarrow.compute as pc

from storage.commits import MERGED_PREFIX, Manifest, manifest_bytes
from storage.contents import Run
from storage.errors import RunLockedError, RunNotFoundError, SchemaVersionError, StorageError
from storage.files import check_columns, digest_of, keep_aside, publish_table, read_table
from storage.history import COPIED_TABLES, History, unseal
from storage.judgements import fault_of_regressions
from storage.layout import (
    existing_root,
    is_visible,
    reading,
    run_paths,
    visible_files,
    visible_runs,
)
from storage.merge import merge_run, remove_leftovers
from storage.restoring import damaged_tables, file_of, restoration, restore
from storage.rows import CellRow, RunRow, rows_to_table, table_to_rows
from storage.run_check import Findings, cells_of_lost, check_run
from storage.run_list import read_run
from storage.runs import RunStore
from storage.schemas import SORT_KEYS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    import pyarrow as pa

    from storage.layout import RunPaths
    from storage.places import Place, Root
    from storage.restoring import Planner


@dataclasses.dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    `run_id` is None of what belongs to no run; `remedy` is empty where there is none from what is
    there; `is_repaired` says that it was applied.
    """

    run_id: str | None
    what: str
    remedy: str = ""
    is_repaired: bool = False


def fsck(
    root: Root,
    run_ids: Collection[str] | None = None,
    progress: Callable[[str, int, int], None] | None = None,
    planner: Planner | None = None,
    *,
    is_repair: bool = False,
) -> list[Problem]:
    """Check runs, or all of a root: files, rows, manifests, cells, summaries, history.

    A run that is being written is passed over.

    Args:
        root: the results root.
        run_ids: the only runs to check; default all, and what belongs to no run.
        progress: told of each run: its run_id, its number from 1, how many.
        planner: makes a run's row and cells again where they are damaged and nothing has a copy.
        is_repair: apply what remedies there are.

    Raises:
        StorageError: the root cannot be read, or a repair cannot be written.
        SchemaVersionError: a newer version wrote something.
    """
    place = existing_root(root)
    with reading(place):
        chosen = visible_runs(place) if run_ids is None else sorted(set(run_ids))
        found = []
        for number, run_id in enumerate(chosen, 1):
            if progress:
                progress(run_id, number, len(chosen))
            if is_visible(place, run_id) and not run_paths(place, run_id).folder.is_leased():
                found += _check(root, place, run_id, planner, is_repair=is_repair)
        if run_ids is None:
            found += _check_others(place)
            found += _check_history(place, is_repair=is_repair)
    return found


def _check(
    root: Root, place: Place, run_id: str, planner: Planner | None, *, is_repair: bool
) -> list[Problem]:
    paths = run_paths(place, run_id)
    try:
        judged = _check_judged(paths, run_id, is_repair=is_repair)
        small = _check_small(place, run_id, planner, is_repair=is_repair)
        if not all(problem.is_repaired for problem in small):
            found = check_run(paths, run_id, is_ended=False)
            found.hopeless.clear()  # told already
            return [*judged, *small, *(Problem(run_id, what) for what, _ in found.told())]
        ended = [run.status not in ("running", "interrupted") for run in read_run(place, run_id)]
    except (SchemaVersionError, RunLockedError) as err:
        return [Problem(run_id, str(err))]
    judged += small
    found = check_run(paths, run_id, is_ended=all(ended))
    problems = [Problem(run_id, what, remedy) for what, remedy in found.told()]
    if not is_repair or found.hopeless or not problems:
        return [*judged, *problems]
    try:
        _repair(root, place, run_id, found, is_ended=all(ended))
    except (RunLockedError, RunNotFoundError):  # somebody writes or removes it now
        return [*judged, *problems]
    return [*judged, *(dataclasses.replace(each, is_repaired=True) for each in problems)]


def _check_judged(paths: RunPaths, run_id: str, *, is_repair: bool) -> list[Problem]:
    """What was judged of a run needs no lease, and follows from the rows of this run and others."""
    fault = fault_of_regressions(paths, run_id)
    if fault is None:
        return []
    if is_repair:
        keep_aside(paths.folder, paths.regressions.name)
        paths.regressions.delete()
    name = paths.regressions.name
    remedy = f"it is set aside as {name}.damaged; `gfjobs judge {run_id}` makes it anew"
    return [Problem(run_id, f"{name}: {fault}", remedy, is_repaired=is_repair)]


def _check_small(
    place: Place, run_id: str, planner: Planner | None, *, is_repair: bool
) -> list[Problem]:
    """The run's row, cells and nodes: without the first two nothing else of it can be used."""
    paths = run_paths(place, run_id)
    damaged = damaged_tables(paths)
    if not damaged:
        return []
    found = restoration(place, paths, damaged, planner)
    if is_repair and found.tables:
        with paths.folder.lease() as lease:
            lease.confirm()
            unseal(place, run_id)
            restore(paths, found)
    rows = f"its rows are Parquet in {paths.data}, which other programs read"
    lost = f"; it cannot be made again: {found.why_not}; {rows}" if found.why_not else ""
    return [
        Problem(
            run_id,
            f"{file_of(name)}: cannot be read ({reason}){lost}",
            found.how,
            is_repaired=is_repair and bool(found.tables),
        )
        for name, reason in damaged.items()
    ]


def _repair(root: Root, place: Place, run_id: str, found: Findings, *, is_ended: bool) -> None:
    """Leave nothing in a run but what can be trusted."""
    paths = run_paths(place, run_id)
    with paths.folder.lease() as lease:
        unseal(place, run_id)
        kept = found.kept
        for name in found.manifests:
            file = name.rpartition("/")[2]
            if rebuilt := _rebuilt(paths, file):
                (paths.commits / file).publish(manifest_bytes(rebuilt))
                kept = dataclasses.replace(kept, manifests={**kept.manifests, file: rebuilt})
            else:
                (paths.commits / file).delete()
        cells = table_to_rows(CellRow, read_table(paths.cells))
        lost = [name.rpartition("/")[2] for name in found.lost]
        bad = {*found.cells, *cells_of_lost(cells, lost, kept)}
        if lost or bad:
            merge_run(paths, lease, without=bad, kept=kept)
        elif found.summary:
            merge_run(paths, lease, kept=kept.without_summary())
        else:
            remove_leftovers(paths, kept)
    if is_ended:
        _requeue(place, run_id)
    with RunStore.open(root, run_id) as store:
        if is_ended:
            store.merge()


def _rebuilt(paths: RunPaths, name: str) -> Manifest | None:
    """The manifest of a merge, from the files that carry its name; None of another."""
    if not name.startswith(MERGED_PREFIX):
        return None
    ending = f"-{name.removesuffix('.json')}.parquet"
    files = {}
    digests = {}
    for file in paths.data.children():
        table = file.name.removesuffix(ending)
        if file.name.endswith(ending) and table in SORT_KEYS:
            try:
                check_columns(file, table)
            except StorageError:
                return None
            files[table] = (file.name,)
            digests[file.name] = digest_of(file)
    return Manifest((), files, digests=digests) if "commits" in files else None


def _requeue(place: Place, run_id: str) -> None:
    """Bring the cells of a run that has ended in line with the rows that are left."""
    paths = run_paths(place, run_id)
    found = check_run(paths, run_id, is_ended=True)
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
    with paths.folder.lease() as lease:
        lease.confirm()
        # The run first: where cells wait, it has not ended well.
        publish_table(paths.run, rows_to_table(RunRow, [dataclasses.replace(run, status="failed")]))
        publish_table(paths.cells, rows_to_table(CellRow, cells))


def _check_others(place: Place) -> list[Problem]:
    """What belongs to no run: lists of images, epochs of trainings."""
    problems = []
    for table in ("images", "training"):
        for file in visible_files(place / table):
            try:
                check_columns(file, table)
            except StorageError as err:  # noqa: PERF203 (all of them)
                problems.append(Problem(None, str(err)))
    return problems


def _check_history(place: Place, *, is_repair: bool) -> list[Problem]:
    """The history is a copy: what is wrong with it goes, and is made again by the next compact."""
    problems = [f"history: {what}" for what in _history_faults(place)]
    remedy = "the history goes; `gfjobs compact` makes it again"
    if is_repair and problems:
        with (place / "history").lease() as lease:
            lease.confirm()
            (place / "history" / "index.json").delete()
    return [Problem(None, what, remedy, is_repaired=is_repair) for what in problems]


def _history_faults(place: Place) -> list[str]:
    try:
        history = History.read(place)
    except StorageError as err:
        return [str(err)]
    if history is None or not history.runs:
        return []
    faults = [fault for name in history.files.values() if (fault := _file_fault(history, name))]
    if faults:
        return faults
    copied = {table: read_table(history.file(table)) for table in COPIED_TABLES}
    return [fault for run_id in history.runs for fault in _copy_faults(place, run_id, copied)]


def _file_fault(history: History, name: str) -> str | None:
    try:
        digest = digest_of(history.folder / name)
    except FileNotFoundError:
        return f"{name} is not there"
    return None if digest == history.digests.get(name) else f"{name} is not what was written"


def _copy_faults(place: Place, run_id: str, copied: Mapping[str, pa.Table]) -> list[str]:
    """Where a run's own small tables say something else."""
    faults = []
    for table, rows in copied.items():
        own = Run(place, run_id).table(table)
        copy = rows.filter(pc.field("run_id") == run_id).to_pylist()
        if copy != (own.to_pylist() if own is not None else []):
            faults.append(f"its rows of {table} are not those of run {run_id}")
    return faults
