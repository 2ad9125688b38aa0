"""Checks the history of a root: its files are as written, and agree with its runs."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pyarrow.compute as pc

from storage.errors import DamagedError, StorageError
from storage.results.contents import Run
from storage.runs.history import COPIED_TABLES, INDEX, SEALS, History
from storage.tables.parquet import compute_digest, read_table

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa

    from storage.backends import Backend

LOOKS = 10
"""How often a history, or a run, is checked again while it keeps changing without a lease."""


def settled_faults(backend: Backend) -> list[str]:
    """Find faults of a history that no process changes; none for one that is being changed."""
    faults: list[str] = []
    for _ in range(LOOKS):
        with contextlib.suppress(FileNotFoundError):  # a compaction deleted a file
            before = _state(backend)
            seen = find_faults(backend)
            if not seen or (faults and before == _state(backend)):
                return seen
            faults = seen
    return []


def drop_faulty(backend: Backend) -> list[str]:
    """Check again under the lease, and delete the index of a faulty history.

    Returns: its faults.
    Raises: RunLockedError: a compaction is making a new history.
    """
    with (backend / "history").lease() as lease:
        if faults := find_faults(backend):
            lease.confirm()
            (backend / "history" / INDEX).delete()
    return faults


def _state(backend: Backend) -> tuple[object, ...]:
    """Return a state that differs after each compaction, and after each change of a run."""
    folder = backend / "history"
    index = folder / INDEX
    seals = [seal.name for seal in (folder / SEALS).children()]
    return index.read() if index.is_file() else None, seals


def find_faults(backend: Backend) -> list[str]:
    """Find the faults of a history at this moment: in its files, and in its copies of rows."""
    try:
        history = History.read(backend)
    except StorageError as err:
        return [str(err)]
    if history is None or not history.runs:
        return []
    faults = [fault for name in history.files.values() if (fault := _file_fault(history, name))]
    if faults:
        return faults
    copied = {table: read_table(history.file(table)) for table in COPIED_TABLES}
    return [fault for run_id in history.runs for fault in _copy_faults(backend, run_id, copied)]


def _file_fault(history: History, name: str) -> str | None:
    try:
        digest = compute_digest(history.folder / name)
    except FileNotFoundError:
        return f"{name} is missing"
    return None if digest == history.digests.get(name) else f"{name} is not what was written"


def _copy_faults(backend: Backend, run_id: str, copied: Mapping[str, pa.Table]) -> list[str]:
    """Find tables whose copied rows differ from a run's own small tables."""
    faults = []
    for table, rows in copied.items():
        try:
            own = Run(backend, run_id).table(table)
        except DamagedError:  # reported with its run, which is restored from this copy
            continue
        copy = rows.filter(pc.field("run_id") == run_id).to_pylist()
        if copy != (own.to_pylist() if own is not None else []):
            faults.append(f"its rows of {table} are not those of run {run_id}")
    return faults
