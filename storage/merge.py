"""Merging the many small files of a run into one sorted file a table.

The merged files are written first, where nobody sees them; one manifest then supersedes all
others in one step; then the old manifests go, and then the old files. A crash between any two
steps leaves each row visible once, and the next merge clears up what was left.
"""

from __future__ import annotations

import contextlib
import shutil
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
from storage.files import TEMPORARY_PREFIX, sync_file, sync_folder
from storage.schemas import SCHEMA_VERSION, SORT_KEYS, TABLES, VERSION_KEY
from storage.sql import parquet_scan, quoted

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    import pyarrow as pa

    from storage.commits import Snapshot
    from storage.layout import RunPaths

# Rows that DuckDB sorts and writes together: small enough that a question about one cell skips
# most of a file, large enough that statistics and dictionaries cost nothing.
ROW_GROUP_ROWS = 100_000

# The sort spills to the run's disk beyond this; drivers run on boards with 4 GB too.
MEMORY_LIMIT = "1GB"


def merge_run(
    paths: RunPaths,
    run_id: str,
    without: Collection[str] = (),
    power: tuple[Collection[str], pa.Table] | None = None,
) -> None:
    """Merge a run whose lease the caller holds.

    Args:
        paths: of the run.
        run_id: of the run.
        without: cells whose rows are dropped, in the same atomic step.
        power: nodes whose readings of the total are dropped, and rows of `power` that come for
            them, in the same atomic step.

    Raises:
        OSError, duckdb.Error: a step failed; the rows are as visible as before.
    """
    snapshot = read_snapshot(paths)
    remove_leftovers(paths, snapshot)
    if not without and power is None and len(snapshot.manifests) < 2:  # noqa: PLR2004 (one manifest is merged as it is)
        only = next(iter(snapshot.manifests), MERGED_PREFIX)
        if only.startswith(MERGED_PREFIX):
            return
    suffix = uuid.uuid4().hex[:12]
    files: dict[str, tuple[str, ...]] = {}
    spill = paths.data / f"{TEMPORARY_PREFIX}{suffix}"
    connection = duckdb.connect(config={"temp_directory": str(spill), "memory_limit": MEMORY_LIMIT})
    with contextlib.closing(connection):
        entries = [entry for entry in snapshot.unmerged_entries if entry.cell_id not in without]
        connection.register("new_commits", entries_to_table(run_id, entries))
        for table in SORT_KEYS:
            rows = _rows_sql(table, snapshot)
            if table == "power" and power is not None:
                connection.register("new_power", power[1])
                rows = _replaced_sql(rows, power[0])
            if rows:
                target = paths.data / f"{table}-{MERGED_PREFIX}{suffix}.parquet"
                _copy_sorted(connection, table, _kept_sql(rows, without), target)
                files[table] = (target.name,)
    sync_folder(paths.data)
    merged = Manifest((), files, supersedes=tuple(manifest_names(paths)))
    publish_manifest(paths, f"{MERGED_PREFIX}{suffix}.json", merged)
    remove_leftovers(paths, read_snapshot(paths))


def remove_leftovers(paths: RunPaths, snapshot: Snapshot) -> None:
    """Delete superseded manifests, then files that no live manifest names.

    In this order: a manifest must never name a file that is gone.
    """
    for path in paths.commits.iterdir():
        if path.name not in snapshot.manifests:
            path.unlink()
    sync_folder(paths.commits)
    named = {path.name for table in TABLES for path in snapshot.files(table)}
    for path in paths.data.iterdir():
        if path.name in named:
            continue
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


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


def _replaced_sql(rows: str, nodes: Collection[str]) -> str:
    """Put new power in place of what some nodes have; the marks of their windows stay."""
    names = ", ".join(quoted(node) for node in sorted(nodes))
    gone = f"power_mw IS NOT NULL AND rail = 'total' AND coalesce(node, '') IN ({names})"
    old = f"SELECT * FROM ({rows}) WHERE NOT ({gone}) UNION ALL BY NAME " if rows else ""  # noqa: S608 (quoted)
    return f"{old}FROM new_power"


def _copy_sorted(
    connection: duckdb.DuckDBPyConnection, table: str, rows: str, target: Path
) -> None:
    connection.execute(
        f"COPY (SELECT * FROM ({rows}) ORDER BY {', '.join(SORT_KEYS[table])}) "  # noqa: S608 (our names)
        f"TO {quoted(str(target))} (FORMAT parquet, COMPRESSION zstd, "
        f"ROW_GROUP_SIZE {ROW_GROUP_ROWS}, "
        f"KV_METADATA {{{VERSION_KEY}: '{SCHEMA_VERSION}'}})"
    )
    sync_file(target)
