"""Checks results, and repairs them as far as the remaining files allow."""

from __future__ import annotations

import contextlib
import dataclasses
from collections import Counter
from typing import TYPE_CHECKING

from storage.errors import RunLockedError, RunNotFoundError, SchemaVersionError, StorageError
from storage.maintenance import history_check
from storage.maintenance.history_check import LOOKS
from storage.maintenance.repair import repair_run
from storage.maintenance.restore import (
    damaged_tables,
    find_file,
    find_owner_of_rows,
    find_submission_fault,
    restoration,
    restore,
    restore_submission,
)
from storage.maintenance.run_check import check_run
from storage.runs.folder import take_run
from storage.runs.history import unseal
from storage.runs.judgements import find_regressions_fault
from storage.runs.layout import existing_root, files_by_id, reading, run_paths, visible_runs
from storage.runs.listing import read_row
from storage.runs.manifests import read_snapshot
from storage.tables.parquet import check_columns

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from storage.backends import Backend, Lease, Root
    from storage.maintenance.restore import Planner
    from storage.runs.layout import RunPaths


@dataclasses.dataclass(frozen=True)
class Problem:
    """One problem.

    `run_id` is None if the problem belongs to no run; `remedy` is empty if the remaining files do
    not allow a repair; `is_resumed` says that it drops what resuming the run computes again;
    `is_repaired` says that the remedy was applied.
    """

    run_id: str | None
    what: str
    remedy: str = ""
    is_resumed: bool = False
    is_repaired: bool = False


def fsck(
    root: Root,
    run_ids: Collection[str] | None = None,
    progress: Callable[[str, int, int], None] | None = None,
    planner: Planner | None = None,
    *,
    is_repair: bool = False,
) -> list[Problem]:
    """Check runs, or a whole root: files, rows, manifests, cells, summaries, history.

    A run that is being written is skipped. Checking takes no lease and writes nothing. A repair
    takes the lease, checks again, and repairs what it finds then: what the first check saw may have
    been committed, merged or removed meanwhile.

    Args:
        root: the results root.
        run_ids: the only runs to check; default all runs, and the files that belong to no run.
        progress: called for each run with its run_id, its number from 1, and the number of runs.
        planner: rebuilds a run's row and cells if they are damaged and there is no copy.
        is_repair: apply the remedies.

    Raises:
        StorageError: the root cannot be read, or a repair cannot be written.
        SchemaVersionError: a newer version wrote something.
    """
    backend = existing_root(root)
    with reading(backend):
        chosen = visible_runs(backend) if run_ids is None else sorted(set(run_ids))
        found = []
        for number, run_id in enumerate(chosen, 1):
            if progress:
                progress(run_id, number, len(chosen))
            found += _check(backend, run_id, planner, is_repair=is_repair)
        if run_ids is None:
            found += _check_others(backend)
            found += _check_history(backend, is_repair=is_repair)
    return found


def _check(
    backend: Backend, run_id: str, planner: Planner | None, *, is_repair: bool
) -> list[Problem]:
    paths = run_paths(backend, run_id)
    problems = _settled(backend, paths, planner)
    if not (is_repair and problems):
        return problems
    try:
        with take_run(backend, paths) as lease:
            return _examine(backend, paths, planner, lease)
    except (RunLockedError, RunNotFoundError):  # it is being written or removed now
        return problems
    except FileNotFoundError:  # a listed file cannot be read: reported already
        return problems


def _settled(backend: Backend, paths: RunPaths, planner: Planner | None) -> list[Problem]:
    """Find problems of a run that no process writes; none for a run that is being written."""
    problems: list[Problem] = []
    gone = Counter[str]()
    for _ in range(LOOKS):
        if not paths.run.is_file() or paths.folder.is_leased():
            return []
        try:
            # A problem seen while a run changes may never have existed: it counts only if it is
            # seen between two equal states.
            before = _state(paths) if problems else None
            problems = _examine(backend, paths, planner, None)
            if not problems:
                return []
            if before and before == _state(paths) and not paths.folder.is_leased():
                return problems
        except FileNotFoundError as err:  # deleted by a merge or removal, or lost
            gone[str(err)] += 1
    return [Problem(paths.folder.name, what) for what in gone if gone[what] == LOOKS]


def _state(paths: RunPaths) -> tuple[object, ...]:
    """Return a state that differs after anything is written to the run."""
    small = (paths.run, paths.cells, paths.nodes, paths.regressions, paths.submission)
    names = [file.name for folder in (paths.commits, paths.data) for file in folder.children()]
    return names, [file.read() for file in small if file.is_file()]


def _examine(
    backend: Backend, paths: RunPaths, planner: Planner | None, lease: Lease | None
) -> list[Problem]:
    """Find the problems of a run at this moment; with its lease, repair what can be repaired."""
    run_id = paths.folder.name
    try:
        damaged = damaged_tables(paths)
        if damaged and (owner := find_owner_of_rows(paths)):
            # With a row of its own, a copied folder would give that run each of its rows twice.
            name, reason = next(iter(damaged.items()))
            return [Problem(run_id, f"its rows are of run {owner}; {find_file(name)} ({reason})")]
        problems = _check_judged(paths, lease)
        small = _check_small(backend, paths, damaged, planner, lease)
        problems += small
        if not all(problem.is_repaired for problem in small):
            found = check_run(paths, run_id, is_ended=False)
            found.hopeless.clear()  # reported already
            return [*problems, *(Problem(run_id, what) for what, *_ in found.told())]
        # The holder of the lease sees "running" for a run whose driver was killed.
        problems += _check_submission(paths, lease)
        is_ended = read_row(paths).status not in ("running", "interrupted")
        found = check_run(paths, run_id, is_ended=is_ended)
    except SchemaVersionError as err:
        return [Problem(run_id, str(err))]
    told = [Problem(run_id, *each) for each in found.told()]
    if lease is None or found.hopeless or not told:
        return [*problems, *told]
    repair_run(backend, paths, lease, found, is_ended=is_ended)
    # On an object store a file that no manifest names stays for a day.
    left = tuple(f"{name}: " for name in _orphans_left(paths, found.orphans))
    return [
        *problems,
        *(dataclasses.replace(each, is_repaired=not each.what.startswith(left)) for each in told),
    ]


def _orphans_left(paths: RunPaths, orphans: Collection[str]) -> list[str]:
    """List the orphans that still exist and that no manifest names now."""
    live = read_snapshot(paths).manifests
    named = {f"data/{file}" for manifest in live.values() for file in manifest.named()}
    there = {
        f"{folder.name}/{backend.name}"
        for folder in (paths.commits, paths.data)
        for backend in folder.children()
    }
    return sorted(there.intersection(orphans).difference(named))


def _check_judged(paths: RunPaths, lease: Lease | None) -> list[Problem]:
    """Check the verdicts on a run, which can be made again from the rows of this run and others."""
    run_id, name = paths.folder.name, paths.regressions.name
    fault = find_regressions_fault(paths.regressions, run_id)
    if fault is None:
        return []
    if lease is not None:
        aside = paths.regressions.rename(f"{name}.damaged")
        # Judging needs no lease: verdicts written since the check are put back.
        if find_regressions_fault(aside, run_id) is None:
            with contextlib.suppress(FileExistsError):
                paths.regressions.publish_new(aside.read())
            aside.delete()
    remedy = f"set aside as {name}.damaged; `gfjobs judge {run_id}` creates it again"
    return [Problem(run_id, f"{name}: {fault}", remedy, is_repaired=lease is not None)]


def _check_small(
    backend: Backend,
    paths: RunPaths,
    damaged: Mapping[str, str],
    planner: Planner | None,
    lease: Lease | None,
) -> list[Problem]:
    """Check the run's row, cells and nodes: without the first two nothing else can be used."""
    if not damaged:
        return []
    found = restoration(backend, paths, damaged, planner)
    is_repaired = bool(lease and found.tables)
    if lease and is_repaired:
        lease.confirm()
        unseal(backend, paths.folder.name)
        restore(paths, found)
    rows = f"its rows are Parquet in {paths.data}, which other programs read"
    lost = f"; it cannot be rebuilt: {found.why_not}; {rows}" if found.why_not else ""
    return [
        Problem(
            paths.folder.name,
            f"{find_file(name)}: cannot be read ({reason}){lost}",
            found.how,
            is_repaired=is_repaired,
        )
        for name, reason in damaged.items()
    ]


def _check_submission(paths: RunPaths, lease: Lease | None) -> list[Problem]:
    """Check what a resume needs, of a run whose row can be read."""
    fault = find_submission_fault(paths)
    if fault is None:
        return []
    run_id, name = paths.folder.name, paths.submission.name
    if lease is not None:
        lease.confirm()
        restore_submission(paths)
    remedy = (
        "rebuilt with the grid of run.parquet; where that grid was, what its names stood for and"
        f" the order of added rounds are lost: continue with `gfjobs submit GRID --run {run_id}`"
    )
    what = f"{name}: cannot be read ({fault})"
    return [Problem(run_id, what, remedy, is_repaired=lease is not None)]


def _check_others(backend: Backend) -> list[Problem]:
    """Check files that belong to no run: lists of images, epochs of trainings."""
    problems = []
    for table in ("images", "training"):
        for owner, file in files_by_id(backend / table).items():
            try:
                check_columns(file, table, owner)
            except StorageError as err:  # all of them
                problems.append(Problem(None, str(err)))
    return problems


def _check_history(backend: Backend, *, is_repair: bool) -> list[Problem]:
    """Check the history, and delete a faulty one: it is a copy that the next compact rebuilds."""
    faults = history_check.settled_faults(backend)
    is_repaired = is_repair and bool(faults)
    if is_repaired:
        try:
            faults = history_check.drop_faulty(backend)
        except RunLockedError:  # a compaction is rebuilding it now
            is_repaired = False
    remedy = "the history is deleted; `gfjobs compact` rebuilds it"
    return [Problem(None, f"history: {what}", remedy, is_repaired=is_repaired) for what in faults]
