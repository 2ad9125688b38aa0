"""Lists the runs under a root, finds one by name, removes one."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import hashlib
from datetime import datetime
from typing import TYPE_CHECKING

from storage.backends.local import LocalBackend
from storage.errors import DamagedError, RunNotFoundError, StorageError
from storage.runs.folder import take_run
from storage.runs.history import History, unseal
from storage.runs.layout import existing_root, reading, retry_until_stable, run_paths, visible_runs
from storage.tables.parquet import read_table
from storage.tables.records import CellRow, NodeRow, RunRow, rows_to_table, table_to_rows
from storage.tables.schemas import make_empty_table

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa

    from storage.backends import Backend, Root
    from storage.runs.layout import RunPaths

LATEST = "latest"


def list_runs(root: Root) -> tuple[RunRow, ...]:
    """List the runs under a root, newest first.

    A run whose row says "running" while no process holds its lease is shown as "interrupted"; a run
    whose row cannot be read is shown as "damaged".

    Raises:
        StorageError: there is no such root.
        SchemaVersionError: a newer version wrote a run.
    """
    backend = existing_root(root)
    with reading(backend):
        return retry_until_stable(lambda: _listed(backend), FileNotFoundError)


def _listed(backend: Backend) -> tuple[RunRow, ...]:
    history = History.read(backend)
    known = history.runs if history else {}
    others = visible_runs(backend, without=known)
    runs = [run for run_id in others for run in _read_or_named(backend, run_id)]
    if history and known:
        copied = table_to_rows(RunRow, read_table(history.file("runs")))
        runs += [run for run in copied if run.run_id in known]
    return tuple(sorted(runs, key=_age, reverse=True))


def _read_or_named(backend: Backend, run_id: str) -> tuple[RunRow, ...]:
    try:
        return read_run(backend, run_id)
    except DamagedError:
        return (RunRow(run_id, status="damaged"),)


def read_run(root: Backend, run_id: str) -> tuple[RunRow, ...]:
    """Read one run's row as readers see it; empty if the run was removed meanwhile.

    Raises: DamagedError: it does not hold what was written.
    """
    return table_to_rows(RunRow, read_run_table(root, run_id))


def read_run_table(root: Backend, run_id: str) -> pa.Table:
    """Read one run's row as `read_run`, as a table of at most one row.

    It is not made of the row: pyarrow imports pandas, if it is installed, to make a table of
    values, which takes a quarter of the time of `gfjobs runs`.
    """
    paths = run_paths(root, run_id)
    try:
        table = _read_row_table(paths)
        if _is_running(table) and not paths.folder.is_leased():
            # A driver that ended in between saved its row before it released the lease.
            table = _read_row_table(paths)
            if _is_running(table):
                (run,) = table_to_rows(RunRow, table)
                table = rows_to_table(RunRow, [dataclasses.replace(run, status="interrupted")])
    except FileNotFoundError:
        return make_empty_table("runs")
    return table


def read_row(paths: RunPaths) -> RunRow:
    """Read one run's row as it was saved.

    Raises:
        DamagedError: it does not hold what was written.
        FileNotFoundError: there is no such run.
    """
    return table_to_rows(RunRow, _read_row_table(paths))[0]


def _read_row_table(paths: RunPaths) -> pa.Table:
    table = read_own_table(paths, paths.run)
    rows = table_to_rows(RunRow, table)  # which checks the columns
    if len(rows) != 1:
        raise DamagedError(f"{paths.run} is damaged ({len(rows)} rows instead of one)")
    return table


def _is_running(table: pa.Table) -> bool:
    return bool(table["status"][0].as_py() == "running")


def read_cell_rows(paths: RunPaths) -> tuple[CellRow, ...]:
    """Read the cells of one run as they were saved; raises like `read_row`."""
    try:
        return table_to_rows(CellRow, read_own_table(paths, paths.cells))
    except FileNotFoundError as err:
        if not paths.run.is_file():
            raise
        raise DamagedError(
            f"{paths.cells} is missing, although the run exists: see `gfjobs fsck`"
        ) from err


def read_node_rows(paths: RunPaths) -> tuple[NodeRow, ...]:
    """Read the nodes of one run; raises like `read_row`, also if no node has worked yet."""
    return table_to_rows(NodeRow, read_own_table(paths, paths.nodes))


def read_own_table(paths: RunPaths, file: Backend) -> pa.Table:
    """Read a small table of a run: its row, cells or nodes.

    A folder that was copied holds the rows of another run. If they counted, that run would have
    each of its rows twice.

    Raises:
        DamagedError: it does not hold what was written, or rows of another run.
        FileNotFoundError: there is no such file.
    """
    table, run_id = read_table(file), paths.folder.name
    if owner := find_owner(table, run_id):
        copied = (
            f"the folder was copied or renamed; rename it to {owner}, if there is no such run, or"
            f" remove it with `gfjobs rm {run_id}`"
        )
        is_row = file.name == paths.run.name
        why = copied if is_row else "something else wrote to it; see `gfjobs fsck`"
        raise DamagedError(f"{file} is damaged: it is of run {owner}: {why}")
    return table


def find_owner(table: pa.Table, run_id: str) -> str | None:
    """Return another run whose rows are in a table; None if all are of the run."""
    if "run_id" not in table.column_names:
        return None
    # Not `unique`, which loads pyarrow's functions for a tenth of a second.
    others = (each for each in table["run_id"].to_pylist() if each != run_id)
    return next(map(str, others), None)


def run_digests(root: Root) -> dict[str, str]:
    """Return a digest per run that changes with all that readers can see of its files.

    It is of the run's row, cells, nodes and verdicts, and of the names of its manifests, which are
    never used twice. That a driver is gone, which makes a run "interrupted", is in no file.

    Raises: StorageError: there is no such root.
    """
    backend = existing_root(root)
    digests = {}
    with reading(backend):
        for run_id in visible_runs(backend):
            with contextlib.suppress(FileNotFoundError):  # it was removed meanwhile
                digests[run_id] = _digest(run_paths(backend, run_id))
    return digests


def _digest(paths: RunPaths) -> str:
    digest = hashlib.sha256()
    for manifest in paths.commits.children():
        digest.update(f"{manifest.name}\n".encode())
    digest.update(hashlib.sha256(paths.run.read()).digest())
    for file in (paths.cells, paths.nodes, paths.regressions):
        with contextlib.suppress(FileNotFoundError):  # no node has worked, nothing was judged
            digest.update(f"{file.name} {hashlib.sha256(file.read()).hexdigest()}\n".encode())
    return digest.hexdigest()


def resolve_run(root: Root, text: str) -> str:
    """Return the run_id for a name that the user gave; `latest` is the newest submitted run.

    Raises: RunNotFoundError: there is no such run; the message names the nearest.
    """
    runs = list_runs(root)
    names = [run.run_id for run in runs]
    if text in names:
        return text
    if not names:
        raise RunNotFoundError(
            f"there is no run {text!r}: no run has been submitted to "
            f"{existing_root(root)}; make one with `gfjobs submit GRID`"
        )
    if text == LATEST:
        return names[0]
    close = difflib.get_close_matches(text, names, n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(close)}?" if close else f"the newest is {names[0]}."
    raise RunNotFoundError(
        f"there is no run {text!r} under {existing_root(root)}; {hint} List all with `gfjobs runs`"
    )


def remove_run(root: Root, run_id: str) -> None:
    """Delete a run. For readers it vanishes in one step.

    Raises:
        RunNotFoundError: there is no such run.
        RunLockedError: a process is writing it.
        StorageError: the file system refuses, or part of the run is a symbolic link; checked before
            anything is deleted, as far as possible.
    """
    backend = existing_root(root)
    paths = run_paths(backend, run_id)
    if not paths.run.is_file():
        resolve_run(root, run_id)  # raises with the nearest names
    try:
        with take_run(backend, paths) as lease:
            unseal(backend, run_id)
            paths.folder.withdraw(paths.run.name, lease)
    except OSError as err:
        raise StorageError(f"run {run_id} cannot be removed: {err}") from err


def is_locked(root: Root, run_id: str) -> bool:
    """Whether a process holds the lease of a run; False if there is no such run."""
    return run_paths(existing_root(root), run_id).folder.is_leased()


def holder(root: Root, run_id: str) -> str | None:
    """Name the process that holds the lease of a run; None if no process does."""
    return run_paths(existing_root(root), run_id).folder.holder()


def log_of(root: Root, run_id: str) -> Path | None:
    """Return the log file of a driver without a terminal; it may not exist.

    None on an object store, where a file cannot be appended to.
    """
    log = run_paths(existing_root(root), run_id).log
    return log.path if isinstance(log, LocalBackend) else None


def kept_grid(root: Root, run_id: str) -> str:
    """Return the path or URL of the grid that `RunStore.keep_grid` wrote; it may not exist."""
    return str(run_paths(existing_root(root), run_id).grid)


def ask_to_cancel(root: Root, run_id: str) -> None:
    """Ask the driver of a run, on whatever host it is, to stop.

    Raises: StorageError: the file system refuses.
    """
    try:
        run_paths(existing_root(root), run_id).cancel.publish(b"")
    except OSError as err:
        raise StorageError(f"run {run_id} cannot be told to stop: {err}") from err


def find_run(root: Root, run_id: str) -> RunRow:
    """Read one run's row, as `list_runs` shows it.

    Raises: RunNotFoundError: there is no such run.
    """
    path = existing_root(root)
    with reading(path):
        found = read_run(path, run_id)
    if not found:
        raise _no_such_run(run_id, path)
    return found[0]


def read_cells(root: Root, run_id: str) -> tuple[CellRow, ...]:
    """Read the cells of one run as its driver last saved them, without DuckDB.

    Raises: RunNotFoundError: there is no such run.
    """
    path = existing_root(root)
    try:
        return read_cell_rows(run_paths(path, run_id))
    except FileNotFoundError:
        raise _no_such_run(run_id, path) from None


def _no_such_run(run_id: str, root: Backend) -> RunNotFoundError:
    return RunNotFoundError(
        f"there is no run {run_id!r} under {root}; list them with `gfjobs runs`"
    )


def _age(run: RunRow) -> tuple[datetime, str]:
    return run.submitted_at or datetime.min, run.run_id  # noqa: DTZ901 (naive UTC throughout)
