"""Creates a view for each table in a database in memory, and the views and macros over them.

For runs with a summary, the summarised views read that. For runs without one they are computed by
the same queries, over tables of the same names in a separate schema.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from storage.results.interrupts import run_interruptible
from storage.runs.history import COPIED_TABLES
from storage.runs.summaries import PLACE, order, stored_scan
from storage.sql.macros import (
    EXPRESSIONS,
    SUMMARISED,
    create_questions,
    find_needed,
    find_repeated,
)
from storage.sql.text import parquet_scan, quote, view_sql
from storage.tables.parquet import check_columns
from storage.tables.schemas import TABLES

if TYPE_CHECKING:
    from collections.abc import Collection

    import duckdb
    import pyarrow as pa

    from storage.results.contents import Contents
    from storage.sql.sandbox import Mount

_WHOLE = ("runs", "cells", "nodes", "commits")
"""Tables with rows that are read when a connection is made, since their files are replaced."""

_SMALL = "small"
"""The schema that holds such rows."""

_UNSUMMARISED = "unsummarised"


def create_views(
    connection: duckdb.DuckDBPyConnection, mount: Mount, contents: Contents, sql: str | None
) -> None:
    """Create the tables, views and macros that a statement may use; None: all of them.

    Of runs that were requested by name, what the statement uses several times is computed once.

    Raises:
        DamagedError: a run that was requested by name is damaged.
        KeyboardInterrupt: the user ended it.
    """
    contents = contents.readable(find_needed(sql, through=()), find_needed(sql))
    stored = {
        view: parts
        for view in SUMMARISED
        if view in find_needed(sql) and (parts := _stored_parts(mount, contents, view))
    }
    names = find_needed(sql, through=set(SUMMARISED) - set(stored))
    connection.execute(f"CREATE SCHEMA {_SMALL}")
    _create_tables(connection, mount, "main", contents, names)
    others = contents.unsummarised if stored else None
    inner: frozenset[str] = frozenset()
    if others and not others.is_empty:
        inner = find_needed(" ".join(stored))
        connection.execute(f"CREATE SCHEMA {_UNSUMMARISED}")
        _create_tables(connection, mount, _UNSUMMARISED, others, inner)
    run_ids = [run.run_id for run in contents.runs] if contents.is_chosen and sql else []

    def create(needed: Collection[str], text: str) -> None:
        kept = find_repeated(text, needed) if run_ids else ()
        questions = set(needed).difference(EXPRESSIONS)
        create_questions(connection, questions, kept, run_ids, execute)

    def execute(statement: str) -> object:
        return run_interruptible(connection, lambda: connection.execute(statement))

    create_questions(connection, (names | inner) & set(EXPRESSIONS))
    if inner:
        # Names in a view are looked up in the view's own schema, then in main.
        connection.execute(f"SET search_path = '{_UNSUMMARISED},main'")
        create(inner, " ".join(stored))
        connection.execute("SET search_path = 'main'")
    _create_stored(connection, stored, [_UNSUMMARISED] if inner else [])
    create(names - set(stored), sql or "")


def _create_tables(
    connection: duckdb.DuckDBPyConnection,
    mount: Mount,
    schema: str,
    contents: Contents,
    names: Collection[str],
) -> None:
    files = {
        table: [] if table in COPIED_TABLES else contents.data_files(table)
        for table in TABLES
        if table in names
    }
    mount.open_ahead([file for found in files.values() for _, file in found])
    for table, found in files.items():
        if table in ("images", "training", "regressions"):
            for owner, file in found:
                check_columns(file, table, owner)
        parts = []
        if copied := contents.copied_file(table):
            scan = parquet_scan(table, [mount.name_of(copied)])
            parts.append(f"{scan} WHERE {_is_not(contents.stale)}")
        if found:
            parts.append(parquet_scan(table, [mount.name_of(file) for _, file in found]))
        rows = contents.small_table(table) if table in _WHOLE else TABLES[table].empty_table()
        _create_table(connection, schema, table, parts, rows)


def _create_table(
    connection: duckdb.DuckDBPyConnection,
    schema: str,
    table: str,
    parts: list[str],
    rows: pa.Table,
) -> None:
    """Create a view of files and of rows that were read; `cells` must come before its users."""
    # read_parquet without files is an error; an empty table provides the types.
    if rows.num_rows or not parts:
        kept = f"{_SMALL}.{schema}_{table}"
        connection.register("arriving", rows)
        connection.execute(f"CREATE TABLE {kept} AS FROM arriving")
        connection.unregister("arriving")
        parts = [*parts, f"FROM {kept}"]
    seen = view_sql(table, " UNION ALL ".join(parts), f"{schema}.cells")
    connection.execute(f"CREATE VIEW {schema}.{table} AS {seen}")


def _stored_parts(mount: Mount, contents: Contents, view: str) -> list[str]:
    """Return SQL that selects the stored rows of a summarised view."""
    parts = []
    if copied := contents.copied_file(view):
        parts.append(f"{stored_scan([mount.name_of(copied)])} WHERE {_is_not(contents.stale)}")
    if files := contents.summary_files(view):
        mount.open_ahead(files)
        parts.append(stored_scan([mount.name_of(file) for file in files]))
    return parts


def _create_stored(
    connection: duckdb.DuckDBPyConnection, stored: dict[str, list[str]], others: list[str]
) -> None:
    """Create summarised views of the stored rows, and of those computed in other schemas."""
    for view, parts in stored.items():
        computed = [f"SELECT *, {order()} FROM {other}.{view}" for other in others]
        connection.execute(
            f"CREATE VIEW {view} AS SELECT * EXCLUDE ({PLACE}) "
            f"FROM ({' UNION ALL '.join([*parts, *computed])}) ORDER BY run_id, {PLACE}"
        )


def _is_not(run_ids: Collection[str]) -> str:
    """Return an SQL condition that leaves out the rows of some runs."""
    if not run_ids:
        return "true"
    return f"run_id NOT IN ({', '.join(quote(run_id) for run_id in run_ids)})"
