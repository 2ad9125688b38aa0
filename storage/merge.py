"""Merging the many small files of a run into one sorted file a table.

The merged files are written first, where nobody sees them; one manifest then supersedes all
others in one step; then the old manifests go, and then the old files. A crash between any two
steps leaves each row visible once, and the next merge clears up what was left.
"""

from __future__ import annotations

import contextlib
import uuid
from typing import TYPE_CHECKING

import duckdb

from storage.commits import (
    MERGED_PREFIX,
    Manifest,
    entries_to_table,
    publish_manifest,
    read_snapshot,
)
from storage.mount import Mount
from storage.schemas import SCHEMA_VERSION, SORT_KEYS, TABLES, VERSION_KEY
from storage.sql import parquet_scan, quoted

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from storage.commits import Snapshot
    from storage.layout import RunPaths
    from storage.places import Lease, Place

# Rows that DuckDB sorts and writes together: small enough that a question about one cell skips
# most of a file, large enough that statistics and dictionaries cost nothing.
ROW_GROUP_ROWS = 100_000

# The sort spills to the disk beyond this; drivers run on boards with 4 GB too.
MEMORY_LIMIT = "1GB"


def merge_run(paths: RunPaths, run_id: str, lease: Lease, without: Collection[str] = ()) -> None:
    """Merge a run whose lease the caller holds.

    Args:
        paths: of the run.
        lease: of the run.
        run_id: of the run.
        without: cells whose rows are dropped, in the same atomic step.

    Raises:
        OSError, duckdb.Error: a step failed; the rows are as visible as before.
        RunLockedError: another process took the lease over; likewise.
    """
    snapshot = read_snapshot(paths)
    remove_leftovers(paths, snapshot)
    if not without and len(snapshot.manifests) < 2:  # noqa: PLR2004 (one manifest is merged as it is)
        only = next(iter(snapshot.manifests), MERGED_PREFIX)
        if only.startswith(MERGED_PREFIX):
            return
    suffix = uuid.uuid4().hex[:12]
    files: dict[str, tuple[str, ...]] = {}
    with paths.data.scratch() as scratch, contextlib.closing(_connect(scratch)) as connection:
        entries = [entry for entry in snapshot.unmerged_entries if entry.cell_id not in without]
        connection.register("new_commits", entries_to_table(run_id, entries))
        mount = Mount(connection, paths.folder)
        mount.open_ahead([file for table in SORT_KEYS for file in snapshot.files(table)])
        for table in SORT_KEYS:
            rows = _rows_sql(table, snapshot, mount)
            if rows:
                target = paths.data / f"{table}-{MERGED_PREFIX}{suffix}.parquet"
                sorted_file = scratch / target.name
                _copy_sorted(connection, table, _kept_sql(rows, without), sorted_file)
                target.adopt(sorted_file)
                files[table] = (target.name,)
    paths.data.sync()
    lease.confirm()
    merged = Manifest((), files, supersedes=_gone_names(snapshot))
    publish_manifest(paths, f"{MERGED_PREFIX}{suffix}.json", merged)
    remove_leftovers(paths, read_snapshot(paths))


def remove_leftovers(paths: RunPaths, snapshot: Snapshot) -> None:
    """Delete superseded manifests, then files that no live manifest names.

    In this order: a manifest must never name a file that is gone. What the snapshot did not see
    stays where a driver that lost its lease may have put it just now.
    """
    named = {place.name for table in TABLES for place in snapshot.files(table)}
    _delete_rest(paths.commits, kept=snapshot.manifests, dead=snapshot.superseded)
    paths.commits.sync()
    _delete_rest(paths.data, kept=named, dead=snapshot.dead_files)


def _delete_rest(folder: Place, kept: Collection[str], dead: Collection[str]) -> None:
    rest = [place for place in folder.children() if place.name not in kept]
    folder.delete_all([place for place in rest if place.name in dead or place.is_abandoned()])


def _gone_names(snapshot: Snapshot) -> tuple[str, ...]:
    """All manifests that count no more after a merge, those of earlier merges too.

    A driver that lost its lease without knowing may put one back under its old name. One that
    it puts under a new name, after the snapshot was read, is not merged and counts.
    """
    return tuple(sorted({*snapshot.manifests, *snapshot.superseded}))


def _connect(scratch: Path) -> duckdb.DuckDBPyConnection:
    return duckdb.connect(
        config={"temp_directory": str(scratch / "spill"), "memory_limit": MEMORY_LIMIT}
    )


def _rows_sql(table: str, snapshot: Snapshot, mount: Mount) -> str:
    """Select all rows of a table, or nothing where there are none."""
    files = [
        str(file.local_path) if file.local_path else mount.name_of(file)
        for file in snapshot.files(table)
    ]
    scan = parquet_scan(table, files) if files else ""
    if table != "commits":
        return scan
    return f"{scan} UNION ALL FROM new_commits" if scan else "FROM new_commits"


def _kept_sql(rows: str, without: Collection[str]) -> str:
    """Leave out the rows of some cells."""
    if not without:
        return rows
    cells = ", ".join(quoted(cell_id) for cell_id in sorted(without))
    return f"SELECT * FROM ({rows}) WHERE cell_id NOT IN ({cells})"  # noqa: S608 (quoted)


def _copy_sorted(
    connection: duckdb.DuckDBPyConnection, table: str, rows: str, target: Path
) -> None:
    connection.execute(
        f"COPY (SELECT * FROM ({rows}) ORDER BY {', '.join(SORT_KEYS[table])}) "  # noqa: S608 (our names)
        f"TO {quoted(str(target))} (FORMAT parquet, COMPRESSION zstd, "
        f"ROW_GROUP_SIZE {ROW_GROUP_ROWS}, "
        f"KV_METADATA {{{VERSION_KEY}: '{SCHEMA_VERSION}'}})"
    )
