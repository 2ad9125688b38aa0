"""Reading results: a DuckDB connection with a view for each table, and queries over it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa

from storage.contents import read_contents
from storage.errors import QueryError
from storage.layout import existing_root, reading
from storage.questions import named
from storage.schemas import TABLES
from storage.sql import query_text
from storage.views import create_views

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from storage.places import Root

# Nothing is fetched from the network because a query names it.
_CONFIG: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
}


def connect(root: Root, run_ids: Collection[str] | None = None) -> duckdb.DuckDBPyConnection:
    """Open results for SQL: a database in memory, with a view for each table and all questions.

    The connection shows the rows that were committed when it was made; it goes stale when a
    run is merged or removed (DuckDB then finds no file): connect again. A table without rows
    is an empty view with its types.

    Args:
        root: the results root.
        run_ids: the only runs to show, which makes a question about one run as quick as if it
            were alone; default all.

    Raises:
        StorageError: there is no such root, or a manifest is damaged.
        SchemaVersionError: a file was written by a newer version.
        duckdb.IOException: a file vanished while it was opened, as above.
    """
    return _connect(root, run_ids, None)


def _connect(
    root: Root, run_ids: Collection[str] | None, sql: str | None
) -> duckdb.DuckDBPyConnection:
    """Open results with what a statement may use; None uses all."""
    place = existing_root(root)
    with reading(place):
        contents = read_contents(place, run_ids)
        connection = duckdb.connect(config=_CONFIG)
        try:
            create_views(connection, contents, sql)
        except BaseException:
            connection.close()
            raise
    return connection


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
        try:
            return _run(_connect(root, run_ids, sql), sql, parameters)
        except duckdb.CatalogException:
            # It names something that is not there, or in a way that its text does not show.
            return _run(connect(root, run_ids), sql, parameters)
        except duckdb.IOException:
            # A merge or a removal took a file away after we had listed it: list again, once.
            return _run(_connect(root, run_ids, sql), sql, parameters)
    except duckdb.Error as err:
        raise _query_error(err) from err


def _run(
    connection: duckdb.DuckDBPyConnection, sql: str, parameters: Mapping[str, object] | None
) -> pa.Table:
    with contextlib.closing(connection):
        # Else `FROM path` would find our variable of that name.
        connection.execute("SET python_enable_replacements = false")
        connection.execute("SET enable_progress_bar = false")  # stdout is data
        relation = connection.sql(sql, params=parameters)
        # A statement without rows, or nothing but a comment.
        if relation is None:
            return pa.table({})
        table = relation.to_arrow_table()
        return table.rename_columns(_distinct(table.column_names))


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
    return QueryError(f"{err}\n\nTables, views, macros: {names}; {hint}")
