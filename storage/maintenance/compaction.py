"""Compaction: copies the small files of finished runs together into the history of a root.

The rows of images stay in the files of their runs, one sorted file per table. So each run can be
removed, resumed and checked by itself, and rows that count are never moved; a scan is as quick over
365 files as over one (benchmarks/history.py). What makes queries over a year of runs slow is the
small files: 5 per run must be opened before a query over all runs starts.

Each run is merged and sealed under its own lease. Then the new files of the history are written
where no reader looks, and one step replaces the index. A crash before that step leaves the old
history, which is still correct.
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
"""Rows per row group of the history's files: a query about one run reads the rows of few runs."""

_UNFINISHED = ("running", "interrupted", "removed")

DAMAGED = "damaged, see `gfjobs fsck`"


@dataclass
class Compaction:
    """What a compaction did, or would do.

    `added` runs are new in the history, `kept` runs were in it and stay, `dropped` runs were in it
    and are gone or have changed. `left` gives, by run, the reason why it is not in the history.
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
        progress: called for each run with its run_id, its number from 1, and the number of runs.
        is_dry: change nothing, and return what would be done.

    Raises:
        RunLockedError: another process is compacting this root.
        StorageError: something cannot be read or written; the history is unchanged.
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
    """Decide about each run; if `writable` is given, seal the runs that have ended."""
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
    """Why a run cannot be in the history yet; None if it can."""
    try:
        status = next((run.status for run in read_run(backend, run_id)), "removed")
    except DamagedError:
        return DAMAGED
    return status if status in _UNFINISHED else None


class _LeftError(Exception):
    """A run stays out of the history; the text gives the reason."""


class _Copied(NamedTuple):
    """A run of the history, with its rows if the old history has none of it."""

    run: SealedRun
    tables: Mapping[str, pa.Table] | None = None


def _sealed(root: Root, backend: Backend, run_id: str) -> _Copied:
    """Merge and summarise a run that has ended, seal it, and read the rows to copy.

    All under its lease, so the rows that are read are those that are sealed.
    """
    with RunStore.open(root, run_id) as store:
        if store.run.status in _UNFINISHED:  # resumed and killed since the first look
            raise _LeftError("interrupted")
        # A seal without a history is left by a compaction that was killed before its last step.
        if not (list_seals(backend, run_id) and Run(backend, run_id).summary_files):
            store.merge()
        run = Run(backend, run_id)
        if not run.summary_files:
            raise _LeftError("its ladder cannot be computed")
        (manifest,) = run.snapshot.manifests.values()
        tables = {
            name: table
            for name in (*COPIED_TABLES, *SUMMARISED)
            if (table := _rows_of(run, name)) is not None
        }
        return _Copied(SealedRun(store.seal(), dict(manifest.files)), tables)


def _written(backend: Backend, old: History | None, sealed: Mapping[str, _Copied]) -> History:
    """Write the files of a new history; no reader opens them yet."""
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
    """Return a run's rows of a small table, or of its summary."""
    if name in COPIED_TABLES:
        return run.table(name)
    return read_table(run.summary_files[name]) if run.summary_files else None


def _by_run(tables: list[pa.Table]) -> pa.Table:
    """Sort rows by run, keeping the order within a run, and give them today's schema version."""
    # Promoted, because DuckDB marks some columns as never NULL.
    table = pa.concat_tables(tables, promote_options="default")
    numbered = table.append_column("number", pa.array(range(table.num_rows), pa.int64()))
    in_order = [("run_id", "ascending"), ("number", "ascending")]
    in_runs = numbered.sort_by(in_order).drop_columns(["number"])
    return in_runs.replace_schema_metadata({VERSION_KEY: str(SCHEMA_VERSION)})


def _remove_leftovers(backend: Backend) -> None:
    """Delete files that the index does not name: of older histories and killed compactions."""
    history = History.read(backend)
    named = history.named() if history else set()
    for child in (backend / "history").children():
        if child.name not in named and child.name not in (INDEX, SEALS, "lock"):
            child.delete()
