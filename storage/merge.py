"""Merging the many small files of a run into one sorted file a table, with its summary.

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
    manifest_names,
    publish_manifest,
    read_snapshot,
)
from storage.files import digest_of
from storage.places.local import LocalPlace
from storage.schemas import SCHEMA_VERSION, SORT_KEYS, VERSION_KEY
from storage.sql import parquet_scan, quoted
from storage.summaries import Inputs, is_current, write_summary

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from storage.commits import Snapshot
    from storage.layout import RunPaths
    from storage.places import Lease

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
    # Cells that are dropped are dropped in the midst of a run: it has no summary yet.
    inputs = None if without else Inputs.read(paths)
    is_merged = inputs is not None and _is_merged(snapshot)
    if is_merged and inputs and is_current(snapshot.summary, inputs):
        return
    suffix = f"{MERGED_PREFIX}{uuid.uuid4().hex[:12]}"
    entries = [entry for entry in snapshot.unmerged_entries if entry.cell_id not in without]
    with paths.data.scratch() as scratch, contextlib.closing(_connect(scratch)) as connection:
        connection.register("new_commits", entries_to_table(run_id, entries))
        if is_merged:  # only the summary is missing, or not of these cells
            files, digests = _merged_files(snapshot)
            scans = {table: _rows_sql(table, snapshot) for table in files if files[table]}
        else:
            files, digests, scans = {}, {}, {}
            for table in SORT_KEYS:
                rows = _rows_sql(table, snapshot)
                if rows:
                    sorted_file = scratch / f"{table}-{suffix}.parquet"
                    _copy_sorted(connection, table, _kept_sql(rows, without), sorted_file)
                    files[table] = (sorted_file.name,)
                    scans[table] = f"FROM read_parquet({quoted(str(sorted_file))})"
        summary = write_summary(connection, inputs, scans, scratch, suffix) if inputs else None
        for sorted_file in sorted(scratch.glob("*.parquet")):
            digests[sorted_file.name] = digest_of(LocalPlace(sorted_file))
            (paths.data / sorted_file.name).adopt(sorted_file)
    paths.data.sync()
    lease.confirm()
    merged = Manifest((), files, _gone_names(paths, snapshot), digests, summary)
    publish_manifest(paths, f"{suffix}.json", merged)
    remove_leftovers(paths, read_snapshot(paths))


def _is_merged(snapshot: Snapshot) -> bool:
    """Whether there is one file a table, or nothing at all."""
    only = next(iter(snapshot.manifests), MERGED_PREFIX)
    return len(snapshot.manifests) < 2 and only.startswith(MERGED_PREFIX)  # noqa: PLR2004


def _merged_files(snapshot: Snapshot) -> tuple[dict[str, tuple[str, ...]], dict[str, str]]:
    """The files of a merged run by table, and their digests."""
    if not snapshot.manifests:  # nothing was committed: its ladder still says so of each cell
        return {}, {}
    (manifest,) = snapshot.manifests.values()
    rows = [name for names in manifest.files.values() for name in names]
    digests = {
        name: manifest.digests.get(name) or digest_of(snapshot.paths.data / name) for name in rows
    }
    return dict(manifest.files), digests


def remove_leftovers(paths: RunPaths, snapshot: Snapshot) -> None:
    """Delete superseded manifests, then files that no live manifest names.

    In this order: a manifest must never name a file that is gone.
    """
    for place in paths.commits.children():
        if place.name not in snapshot.manifests:
            place.delete()
    paths.commits.sync()
    named = {name for manifest in snapshot.manifests.values() for name in manifest.named()}
    for place in paths.data.children():
        if place.name not in named:
            place.delete()


def _gone_names(paths: RunPaths, snapshot: Snapshot) -> tuple[str, ...]:
    """All manifests that count no more after a merge, those of earlier merges too.

    A driver that lost its lease without knowing may put one back under its old name.
    """
    return tuple(sorted({*manifest_names(paths), *snapshot.superseded}))


def _connect(scratch: Path) -> duckdb.DuckDBPyConnection:
    return duckdb.connect(
        config={"temp_directory": str(scratch / "spill"), "memory_limit": MEMORY_LIMIT}
    )


def _rows_sql(table: str, snapshot: Snapshot) -> str:
    """Select all rows of a table, or nothing where there are none."""
    files = snapshot.files(table)
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
