"""Reading results: a DuckDB connection with a view for each table, and queries over it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, NamedTuple

import duckdb
import pyarrow as pa

from storage.commits import Snapshot, entries_to_table, read_snapshot
from storage.errors import QueryError, StorageError
from storage.files import check_file_version, read_table
from storage.layout import existing_root, reading, run_paths, visible_files, visible_runs
from storage.mount import Mount, lock
from storage.questions import create_questions, named
from storage.rows import RunRow, rows_to_table
from storage.run_list import read_run
from storage.schemas import COMMITTED_TABLES, TABLES
from storage.sql import parquet_scan, query_text

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from storage.places import Place, Root

# Nothing is fetched from the network because a query names it.
_CONFIG: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
}


def connect(root: Root, run_ids: Collection[str] | None = None) -> duckdb.DuckDBPyConnection:
    """Open results for SQL: a database in memory, with a view for each table and all questions.

    The connection is locked: it reads these rows and what is registered with it, and no statement
    can write a file, reach another one or an address, load an extension, or change a setting.

    It shows the rows that were committed when it was made; it goes stale when a
    run is merged or removed (DuckDB then finds no file): connect again. A table without rows
    is an empty view with its types.

    Args:
        root: the results root.
        run_ids: the only runs to show, which makes a question about one run as quick as if it
            were alone; default all.

    Raises:
        StorageError: there is no such root, or a manifest is damaged.
        SchemaVersionError: a file was written by a newer version.
        duckdb.Error: a file vanished while it was opened, as above.
    """
    return _open(root, run_ids).connection


class _Opened(NamedTuple):
    connection: duckdb.DuckDBPyConnection
    mount: Mount


class _StaleError(StorageError):
    """A file vanished between the listing and the opening."""


def _open(root: Root, run_ids: Collection[str] | None) -> _Opened:
    """Open, and list once more where a merge or a removal took a file away meanwhile."""
    try:
        return _list_and_open(root, run_ids)
    except _StaleError:
        return _list_and_open(root, run_ids)


def _list_and_open(root: Root, run_ids: Collection[str] | None) -> _Opened:
    place = existing_root(root)
    with reading(place):
        shown = [name for name in visible_runs(place) if run_ids is None or name in run_ids]
        runs = tuple(run for run_id in shown for run in read_run(place, run_id))
        snapshots = {run.run_id: read_snapshot(run_paths(place, run.run_id)) for run in runs}
        connection = duckdb.connect(config=_CONFIG)
        mount = Mount(connection, place)
        try:
            _create_views(connection, mount, place, runs, snapshots)
            lock(connection)
        except duckdb.Error as err:
            connection.close()
            if mount.is_stale:
                raise _StaleError(f"{mount.refusal}: a run is changing; try again") from err
            raise
        except BaseException:
            connection.close()
            raise
    return _Opened(connection, mount)


def query(root: Root, sql: str, *, run_ids: Collection[str] | None = None) -> pa.Table:
    """Run one statement or several over a root, and return the rows of the last.

    Raises:
        QueryError: DuckDB refused; the message is DuckDB's, with the tables there are.
        StorageError, SchemaVersionError: as `connect`.
    """
    return _query(root, sql, None, run_ids)


def named_query(
    root: Root,
    name: str,
    *,
    run_ids: Collection[str] | None = None,
    **parameters: object,
) -> pa.Table:
    """Run `storage/queries/<name>.sql` with its named parameters.

    Raises:
        StorageError: no such query or root.
        QueryError: DuckDB refused, for example a missing parameter.
    """
    return _query(root, query_text(name), parameters or None, run_ids)


def _query(
    root: Root,
    sql: str,
    parameters: Mapping[str, object] | None,
    run_ids: Collection[str] | None,
) -> pa.Table:
    try:
        opened = _open(root, run_ids)
        try:
            return _run(opened.connection, sql, parameters)
        except duckdb.Error:
            if not opened.mount.is_stale:
                raise
        # A merge or a removal took a file away after we had opened: list again, once.
        opened = _open(root, run_ids)
        return _run(opened.connection, sql, parameters)
    except duckdb.Error as err:
        raise _query_error(err) from err


def _run(
    connection: duckdb.DuckDBPyConnection, sql: str, parameters: Mapping[str, object] | None
) -> pa.Table:
    with contextlib.closing(connection):
        relation = connection.sql(sql, params=parameters)
        # A statement without rows, or nothing but a comment.
        if relation is None:
            return pa.table({})
        table = relation.to_arrow_table()
        return table.rename_columns(_distinct(table.column_names))


def _create_views(
    connection: duckdb.DuckDBPyConnection,
    mount: Mount,
    root: Place,
    runs: Sequence[RunRow],
    snapshots: Mapping[str, Snapshot],
) -> None:
    connection.register("runs", rows_to_table(RunRow, runs))
    for table in ("cells", "nodes"):
        places = [run_paths(root, run_id).folder / f"{table}.parquet" for run_id in snapshots]
        connection.register(table, _read_all(table, places))
    files_of = {
        **{table: _data_files(table, snapshots.values()) for table in COMMITTED_TABLES},
        **{table: visible_files(root / table) for table in ("images", "training")},
    }
    merged = _data_files("commits", snapshots.values())
    mount.open_ahead([*merged, *(file for files in files_of.values() for file in files)])
    for table in ("images", "training"):
        for file in files_of[table]:
            check_file_version(file)
    for table, files in files_of.items():
        _create_view(connection, mount, table, files)
    _create_commits(connection, mount, snapshots, merged)
    create_questions(connection)


def _distinct(names: list[str]) -> list[str]:
    """Number the names that stand more than once, as DuckDB's CSV writer does."""
    taken: set[str] = set()
    distinct = []
    for name in names:
        number, candidate = 0, name
        while candidate in taken:
            number += 1
            candidate = f"{name}_{number}"
        taken.add(candidate)
        distinct.append(candidate)
    return distinct


def _query_error(err: duckdb.Error) -> QueryError:
    names = ", ".join((*TABLES, *named()))
    hint = "`DESCRIBE FROM <name>` lists columns"
    text = str(err).strip()
    if "Traceback (most recent call last)" in text:  # our own file system's refusal
        text = text.splitlines()[-1]
    if isinstance(err, duckdb.PermissionException) or "PermissionError" in text:
        hint += (
            "\n\nA query reads these results and nothing else, and writes nothing: send its rows "
            "to a file with `gfjobs sql ... --format csv > rows.csv`"
        )
    return QueryError(f"{text}\n\nTables, views, macros: {names}; {hint}")


def _create_view(
    connection: duckdb.DuckDBPyConnection, mount: Mount, table: str, files: list[Place]
) -> None:
    if files:
        names = [mount.name_of(file) for file in files]
        connection.execute(f"CREATE VIEW {table} AS {parquet_scan(table, names)}")
    else:
        # read_parquet of no file is an error; an empty Arrow table has the types.
        connection.register(table, TABLES[table].empty_table())


def _create_commits(
    connection: duckdb.DuckDBPyConnection,
    mount: Mount,
    snapshots: Mapping[str, Snapshot],
    files: list[Place],
) -> None:
    """Show merged entries from their files, and the others from their manifests."""
    unmerged = [
        entries_to_table(run_id, snapshot.unmerged_entries)
        for run_id, snapshot in snapshots.items()
    ]
    connection.register("unmerged_commits", _concatenated("commits", unmerged))
    names = [mount.name_of(file) for file in files]
    merged = f"{parquet_scan('commits', names)} UNION ALL " if files else ""
    connection.execute(f"CREATE VIEW commits AS {merged}FROM unmerged_commits")


def _data_files(table: str, snapshots: Iterable[Snapshot]) -> list[Place]:
    return [file for snapshot in snapshots for file in snapshot.files(table)]


def _read_all(table: str, files: list[Place]) -> pa.Table:
    """Read whole what is small and replaced while a run goes on."""
    tables = []
    for file in files:
        with contextlib.suppress(FileNotFoundError):  # no nodes yet, or the run was removed
            tables.append(read_table(file))
    return _concatenated(table, tables)


def _concatenated(table: str, tables: list[pa.Table]) -> pa.Table:
    return pa.concat_tables([TABLES[table].empty_table(), *tables])
