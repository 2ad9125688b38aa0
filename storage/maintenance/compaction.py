"""Compaction: the small files of finished runs, copied together into the history of a root.

The rows of images stay in the files of their runs, one a table, sorted: so a run is removed,
resumed and checked by itself, a scan is as quick over 365 files as over one, and nothing that
counts is ever moved (benchmarks/history.py). What makes a year slow to ask are the small files: 5
to open for each run before a question about all is even begun.

Each run is merged and sealed under its own lease; then the new files of the history are written
where nobody reads them, and one step replaces the index. A crash before it leaves the old history,
which is as true as before.
"""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from storage.errors import DamagedError, RunLockedError, RunNotFoundError, StorageError
from storage.results.contents import Run
from storage.runs.history import (
    COPIED_TABLES,
    INDEX,
    SEALS,
    History,
    SealedRun,
    list_seals,
    unseal_gone,
)
from storage.runs.layout import existing_root, visible_runs
from storage.runs.listing import read_run
from storage.runs.store import RunStore
from storage.sql.macros import SUMMARISED, definition
from storage.tables.parquet import parquet_bytes, read_table
from storage.tables.schemas import SCHEMA_VERSION, TABLES, VERSION_KEY

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from storage.backends import Backend, Root

_ROW_GROUP_ROWS = 10_000
"""Of the history's files: a question about one run reads a few runs' rows."""

_UNFINISHED = ("running", "interrupted", "removed")

DAMAGED = "damaged, see `gfjobs fsck`"


@dataclass
class Compaction:
    """What was done, or would be.

    `added` and `kept` are runs of the history, new ones and those that were in it; `left` says why
    others are not, by run; `dropped` were in it and are gone or have changed.
    """

    added: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    left: dict[str, str] = field(default_factory=dict)


def compact(
    root: Root, progress: Callable[[str, int, int], None] | None = None, *, is_dry: bool = False
) -> Compaction:
    """Bring the history of a root up to date.

    Args:
        root: the results root.
        progress: told of each run that is looked at: its run_id, its number from 1, how many.
        is_dry: change nothing, and say what would be done.

    Raises:
        RunLockedError: another process compacts this root.
        StorageError: something cannot be read or written; the history counts as before.
    """
    backend = existing_root(root)
    try:
        if is_dry:
            return _looked_at(backend, None, progress)[0]
        (backend / "history").make_folder()
        with (backend / "history").lease() as lease:
            unseal_gone(backend)
            old = History.read(backend)
            done, sealed = _looked_at(backend, root, progress)
            if done.added or done.dropped:
                history = _written(backend, old, sealed)
                lease.confirm()
                history.publish()
            _remove_leftovers(backend)
    except RunLockedError as err:
        raise RunLockedError(f"{backend} is being compacted by another process: {err}") from err
    except OSError as err:
        raise StorageError(f"the history of {backend} cannot be compacted: {err}") from err
    return done


def _looked_at(
    backend: Backend, writable: Root | None, progress: Callable[[str, int, int], None] | None
) -> tuple[Compaction, dict[str, _Copied]]:
    """Decide about each run, and seal those that have ended, where something may be written."""
    history = History.read(backend)
    known = history.runs if history and history.definition == definition() else {}
    done = Compaction(dropped=list(history.stale) if history else [])
    sealed: dict[str, _Copied] = {}
    run_ids = visible_runs(backend)
    for number, run_id in enumerate(run_ids, 1):
        if progress:
            progress(run_id, number, len(run_ids))
        if run_id in known:
            sealed[run_id] = _Copied(known[run_id])
            done.kept.append(run_id)
        elif reason := _unfinished(backend, run_id):
            done.left[run_id] = reason
        else:
            try:
                if writable is not None:
                    sealed[run_id] = _sealed(writable, backend, run_id)
                done.added.append(run_id)
            except (RunLockedError, RunNotFoundError):
                done.left[run_id] = "being written"
            except _LeftError as err:
                done.left[run_id] = str(err)
            except DamagedError:
                done.left[run_id] = DAMAGED
    return done, sealed


def _unfinished(backend: Backend, run_id: str) -> str | None:
    """Why a run is not one of the history yet."""
    try:
        status = next((run.status for run in read_run(backend, run_id)), "removed")
    except DamagedError:
        return DAMAGED
    return status if status in _UNFINISHED else None


class _LeftError(Exception):
    """A run stays out of the history; the text is why."""


class _Copied(NamedTuple):
    """A run of the history, with its rows where the old history has none."""

    run: SealedRun
    tables: Mapping[str, pa.Table] | None = None


def _sealed(root: Root, backend: Backend, run_id: str) -> _Copied:
    """Merge and summarise a run that has ended, seal it, and read what is copied.

    All under its lease: what is read is what is sealed.
    """
    with RunStore.open(root, run_id) as store:
        if store.run.status in _UNFINISHED:  # resumed, and killed, since it was looked at
            raise _LeftError("interrupted")
        # A seal without a history is of a compaction that was killed before its last step.
        if not (list_seals(backend, run_id) and Run(backend, run_id).summary_files):
            store.merge()
        run = Run(backend, run_id)
        if not run.summary_files:
            raise _LeftError("its ladder cannot be made")
        (manifest,) = run.snapshot.manifests.values()
        tables = {
            name: table
            for name in (*COPIED_TABLES, *SUMMARISED)
            if (table := _rows_of(run, name)) is not None
        }
        return _Copied(SealedRun(store.seal(), dict(manifest.files)), tables)


def _written(backend: Backend, old: History | None, sealed: Mapping[str, _Copied]) -> History:
    """Write the files of a new history; nobody reads them yet."""
    kept = [run_id for run_id, copied in sealed.items() if copied.tables is None]
    new = [copied.tables for _, copied in sorted(sealed.items()) if copied.tables is not None]
    folder, suffix = backend / "history", uuid.uuid4().hex[:12]
    files, digests = {}, {}
    for name in (*COPIED_TABLES, *SUMMARISED):
        tables = [TABLES[name].empty_table()] if name in TABLES else []
        tables += [run[name] for run in new if name in run]
        if old and kept:
            copied = read_table(old.file(name))
            tables.append(copied.filter(pc.is_in(copied["run_id"], pa.array(sorted(kept)))))
        if tables:
            content = parquet_bytes(_by_run(tables), _ROW_GROUP_ROWS)
            files[name] = f"{name}-{suffix}.parquet"
            (folder / files[name]).write(content)
            digests[files[name]] = hashlib.sha256(content).hexdigest()
    folder.sync()
    runs = {run_id: copied.run for run_id, copied in sealed.items()}
    return History(folder, files, digests, definition(), runs)


def _rows_of(run: Run, name: str) -> pa.Table | None:
    """A run's rows of a small table, or of its summary."""
    if name in COPIED_TABLES:
        return run.table(name)
    return read_table(run.summary_files[name]) if run.summary_files else None


def _by_run(tables: list[pa.Table]) -> pa.Table:
    """Put rows in order of run; those of one run stay as they are. The schema is of today."""
    # Promoted: DuckDB knows of some columns that they are never NULL.
    table = pa.concat_tables(tables, promote_options="default")
    numbered = table.append_column("number", pa.array(range(table.num_rows), pa.int64()))
    in_order = [("run_id", "ascending"), ("number", "ascending")]
    in_runs = numbered.sort_by(in_order).drop_columns(["number"])
    return in_runs.replace_schema_metadata({VERSION_KEY: str(SCHEMA_VERSION)})


def _remove_leftovers(backend: Backend) -> None:
    """Delete what the index does not name: of histories before, and of compactions killed."""
    history = History.read(backend)
    named = history.named() if history else set()
    for child in (backend / "history").children():
        if child.name not in named and child.name not in (INDEX, SEALS, "lock"):
            child.delete()
