"""Merges the many small files of a run into one sorted file per table, with its summary.

The merged files are written first, where no reader sees them; one manifest then supersedes all
others in one step; then the old manifests are deleted, and then the old files. A crash between any
two steps leaves each row visible once, and the next merge deletes the leftovers.
"""

from __future__ import annotations

import contextlib
import uuid
from typing import TYPE_CHECKING

import duckdb

from storage.backends.local import LocalBackend
from storage.errors import RunLockedError
from storage.runs.manifests import (
    MERGED_PREFIX,
    Manifest,
    entries_to_table,
    merge_name,
    publish_manifest,
    read_snapshot,
)
from storage.runs.summaries import Inputs, is_current, write_summary
from storage.sql.sandbox import Mount, open_duckdb
from storage.sql.text import parquet_scan, quote
from storage.tables.parquet import compute_digest
from storage.tables.schemas import SCHEMA_VERSION, SORT_KEYS, VERSION_KEY

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    import pyarrow as pa

    from storage.backends import Backend, Lease
    from storage.runs.layout import RunPaths
    from storage.runs.manifests import Snapshot

# Rows that DuckDB sorts and writes together: small enough that a query about one cell skips most
# of a file, large enough that statistics and dictionaries cost nothing. With another number than
# that of the row groups of its own tables, writing takes a third longer.
ROW_GROUP_ROWS = 122_880

# Different values up to which a column may have a dictionary. DuckDB else tries one for each number
# that was measured, in vain, and writes an order of rows as one.
MOST_DICTIONARY_VALUES = 1_000

# The sort spills to the disk beyond this; drivers run on boards with 4 GB too.
MEMORY_LIMIT = "1GB"


def merge_run(
    paths: RunPaths,
    lease: Lease,
    without: Collection[str] | None = None,
    kept: Snapshot | None = None,
    *,
    power: tuple[Collection[str], pa.Table] | None = None,
    has_rails: bool = False,
    rounds: pa.Table | None = None,
) -> None:
    """Merge a run whose lease the caller holds.

    Args:
        paths: those of the run.
        lease: that of the run.
        without: cells whose rows are dropped, in the same atomic step. A run with dropped rows has
            more to do, and gets no summary.
        kept: the snapshot that counts, if that is not all that the run's manifests name.
        power: nodes whose readings of the total are dropped, and the rows of `power` that replace
            them, in the same atomic step.
        has_rails: the readings of all rails of these nodes are dropped.
        rounds: rows of `rounds` that replace those of the same cell, round, node and start; only
            with `power`.

    Raises:
        OSError, duckdb.Error: a step failed; the visible rows are unchanged.
        RunLockedError: another process took the lease over, or merged the run; likewise.
    """
    snapshot = kept or read_snapshot(paths)
    if kept is None:
        remove_leftovers(paths, snapshot, lease)
    inputs = Inputs.read(paths) if without is None else None
    without = without or ()
    is_merged = inputs is not None and power is None and _is_merged(snapshot)
    if is_merged and inputs and is_current(snapshot.summary, inputs):
        return
    name = merge_name(snapshot)
    # File names are unique, since two merges may have the same name; only one is published.
    suffix = f"{name.removesuffix('.json')}.{uuid.uuid4().hex[:8]}"
    entries = [entry for entry in snapshot.unmerged_entries if entry.cell_id not in without]
    with paths.data.scratch() as scratch, contextlib.closing(_connect(scratch)) as connection:
        connection.register("new_commits", entries_to_table(paths.folder.name, entries))
        mount = Mount(connection, paths.folder)
        mount.open_ahead([file for table in SORT_KEYS for file in snapshot.files(table)])
        if is_merged:  # only the summary is missing or stale
            files, digests = _merged_files(snapshot)
            scans = {table: rows_sql(table, snapshot, mount) for table in files if files[table]}
        else:
            files, digests, scans = {}, {}, {}
            for table in SORT_KEYS:
                rows = rows_sql(table, snapshot, mount)
                if table == "power":
                    rows = _replaced_sql(connection, rows, power, has_rails=has_rails)
                rows = _completed_sql(connection, rows, rounds if table == "rounds" else None)
                if rows:
                    sorted_file = scratch / f"{table}-{suffix}.parquet"
                    _copy_sorted(connection, table, _kept_sql(rows, without), sorted_file)
                    files[table] = (sorted_file.name,)
                    scans[table] = parquet_scan(table, [str(sorted_file)])
        summary = write_summary(connection, inputs, scans, scratch, suffix) if inputs else None
        for sorted_file in sorted(scratch.glob("*.parquet")):
            digests[sorted_file.name] = compute_digest(LocalBackend(sorted_file))
            (paths.data / sorted_file.name).adopt(sorted_file)
    paths.data.sync()
    lease.confirm()
    merged = Manifest((), files, _gone_names(snapshot), digests, summary)
    try:
        publish_manifest(paths, name, merged)
        after = read_snapshot(paths)
        is_dead = name in after.superseded  # superseded by two or more merges that came in between
    except FileExistsError:
        is_dead = True
    if is_dead:
        _remove_unpublished(paths, suffix)
        raise RunLockedError(
            f"run {paths.folder.name} was merged by another process just now; its merge counts, "
            "this one is dropped, and no row is duplicated"
        )
    remove_leftovers(paths, after, lease)


def _remove_unpublished(paths: RunPaths, suffix: str) -> None:
    """Delete the files of a merge that lost against another one."""
    ending = f"-{suffix}.parquet"
    paths.data.delete_all([file for file in paths.data.children() if file.name.endswith(ending)])


def _is_merged(snapshot: Snapshot) -> bool:
    """Whether there is one file per table, or no manifest at all."""
    only = next(iter(snapshot.manifests), MERGED_PREFIX)
    return len(snapshot.manifests) <= 1 and only.startswith(MERGED_PREFIX)


def _merged_files(snapshot: Snapshot) -> tuple[dict[str, tuple[str, ...]], dict[str, str]]:
    """Return the files of a merged run by table, and their digests."""
    if not snapshot.manifests:  # nothing was committed; the ladder still shows that for each cell
        return {}, {}
    (manifest,) = snapshot.manifests.values()
    rows = [name for names in manifest.files.values() for name in names]
    digests = {
        name: manifest.digests.get(name) or compute_digest(snapshot.paths.data / name)
        for name in rows
    }
    return dict(manifest.files), digests


def remove_leftovers(paths: RunPaths, snapshot: Snapshot, lease: Lease) -> None:
    """Delete superseded manifests, then files that no live manifest names.

    In this order, because a manifest must never name a file that is gone. A file that is not in the
    snapshot stays if a driver that lost its lease may have written it just now.
    """
    named = {name for manifest in snapshot.manifests.values() for name in manifest.named()}
    _delete_rest(paths.commits, lease, kept=snapshot.manifests, dead=snapshot.superseded)
    paths.commits.sync()
    _delete_rest(paths.data, lease, kept=named, dead=snapshot.dead_files)


def _delete_rest(
    folder: Backend, lease: Lease, kept: Collection[str], dead: Collection[str]
) -> None:
    rest = [backend for backend in folder.children() if backend.name not in kept]
    folder.delete_all(
        [backend for backend in rest if backend.name in dead or backend.is_abandoned(lease)]
    )


def _gone_names(snapshot: Snapshot) -> tuple[str, ...]:
    """Return the names of all manifests that no longer count after a merge, or after earlier ones.

    A driver that lost its lease without knowing it may write one again under its old name, which
    must not count. One that it writes under a new name, after the snapshot was read, is not merged
    and counts.
    """
    return tuple(sorted({*snapshot.manifests, *snapshot.superseded}))


def _connect(scratch: Path) -> duckdb.DuckDBPyConnection:
    return open_duckdb({"temp_directory": str(scratch / "spill"), "memory_limit": MEMORY_LIMIT})


def rows_sql(table: str, snapshot: Snapshot, mount: Mount) -> str:
    """Return SQL that selects all rows of a table; empty if it has none."""
    files = [
        str(file.local_path) if file.local_path else mount.name_of(file)
        for file in snapshot.files(table)
    ]
    scan = parquet_scan(table, files) if files else ""
    if table != "commits":
        return scan
    return f"{scan} UNION ALL FROM new_commits" if scan else "FROM new_commits"


def _kept_sql(rows: str, without: Collection[str]) -> str:
    """Return SQL that leaves out the rows of some cells."""
    if not without:
        return rows
    cells = ", ".join(quote(cell_id) for cell_id in sorted(without))
    return f"SELECT * FROM ({rows}) WHERE cell_id NOT IN ({cells})"


def _replaced_sql(
    connection: duckdb.DuckDBPyConnection,
    rows: str,
    power: tuple[Collection[str], pa.Table] | None,
    *,
    has_rails: bool,
) -> str:
    """Return SQL that replaces the power of some nodes; the marks of their windows stay."""
    if power is None:
        return rows
    nodes, table = power
    connection.register("new_power", table)
    names = ", ".join(quote(node) for node in sorted(nodes)) or "NULL"
    rails = "" if has_rails else "rail = 'total' AND "
    gone = f"power_mw IS NOT NULL AND {rails}coalesce(node, '') IN ({names})"
    old = f"SELECT * FROM ({rows}) WHERE ({gone}) IS NOT TRUE UNION ALL BY NAME " if rows else ""
    return f"{old}FROM new_power"


def _completed_sql(connection: duckdb.DuckDBPyConnection, rows: str, late: pa.Table | None) -> str:
    """Return SQL that replaces rounds by late rows, if there are any; empty without rounds."""
    if late is None:
        return rows
    connection.register("late_rounds", late)
    keys = ("run_id", "cell_id", "round", "node", "started_at")
    same = " AND ".join(f"l.{key} IS NOT DISTINCT FROM r.{key}" for key in keys)
    kept = f"SELECT r.* FROM ({rows}) r ANTI JOIN late_rounds l ON {same}"
    return f"{kept} UNION ALL BY NAME FROM late_rounds" if rows else ""


def _copy_sorted(
    connection: duckdb.DuckDBPyConnection, table: str, rows: str, target: Path
) -> None:
    connection.execute(
        f"COPY (SELECT * FROM ({rows}) ORDER BY {', '.join(SORT_KEYS[table])}) "
        f"TO {quote(str(target))} (FORMAT parquet, COMPRESSION zstd, "
        f"ROW_GROUP_SIZE {ROW_GROUP_ROWS}, DICTIONARY_SIZE_LIMIT {MOST_DICTIONARY_VALUES}, "
        f"KV_METADATA {{{VERSION_KEY}: '{SCHEMA_VERSION}'}})"
    )
