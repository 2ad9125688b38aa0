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
    COMPUTED_ONCE,
    EXPRESSIONS,
    SUMMARISED,
    create_questions,
    find_needed,
    find_repeated,
)
from storage.sql.text import parquet_scan, quote, view_sql
from storage.tables.parquet import check_columns
from storage.tables.schemas import TABLES, make_empty_table

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


class Views:
    """Creates what statements may use on a connection, as they come.

    Of runs that were requested by name, what a statement uses several times is computed once.

    Args:
        connection: a new database.
        mount: its files.
        contents: the runs to show.
        keeps_all: whether all that may be used several times is computed once, for statements to
            come; only for runs that were requested by name.
    """

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        mount: Mount,
        contents: Contents,
        *,
        keeps_all: bool = False,
    ) -> None:
        self._connection, self._mount, self._contents = connection, mount, contents
        self._keeps_all = keeps_all
        self._created: frozenset[str] = frozenset()
        self._unsummarised: frozenset[str] = frozenset()
        self._stored: dict[str, list[str]] = {}
        connection.execute(f"CREATE SCHEMA {_SMALL}; CREATE SCHEMA {_UNSUMMARISED}")

    def create(self, sql: str | None) -> Contents:
        """Create the tables, views and macros that a statement may use; None: all of them.

        Returns: the runs that they show.

        Raises:
            DamagedError: a run that was requested by name is damaged.
            KeyboardInterrupt: the user ended it.
        """
        asked = find_needed(sql)
        contents = self._contents.readable(find_needed(sql, through=()), asked)
        for view in (asked & set(SUMMARISED)) - self._created:
            self._stored[view] = _stored_parts(self._mount, contents, view)
        stored = {view: parts for view in SUMMARISED if (parts := self._stored.get(view))}
        names = find_needed(sql, through=set(SUMMARISED) - set(stored)) - self._created
        _create_tables(self._connection, self._mount, "main", contents, names)
        others = contents.unsummarised if stored else None
        inner: frozenset[str] = frozenset()
        if others and not others.is_empty:
            inner = find_needed(" ".join(stored)) - self._unsummarised
            _create_tables(self._connection, self._mount, _UNSUMMARISED, others, inner)
        expressions = ((names | inner) & set(EXPRESSIONS)) - self._created
        create_questions(self._connection, expressions)
        if inner:
            # Names in a view are looked up in the view's own schema, then in main.
            self._connection.execute(f"SET search_path = '{_UNSUMMARISED},main'")
            self._create_questions(contents, inner - set(EXPRESSIONS), " ".join(stored))
            self._connection.execute("SET search_path = 'main'")
        new = {view: parts for view, parts in stored.items() if view in names}
        has_others = bool(inner or self._unsummarised)
        _create_stored(self._connection, new, [_UNSUMMARISED] if has_others else [])
        self._create_questions(contents, names - set(stored) - set(EXPRESSIONS), sql)
        self._created |= names | expressions
        self._unsummarised |= inner
        return contents

    def _create_questions(self, contents: Contents, names: frozenset[str], sql: str | None) -> None:
        kept: Collection[str] = ()
        run_ids = [run.run_id for run in contents.runs]
        if self._keeps_all:
            kept = COMPUTED_ONCE
        elif contents.is_chosen and sql is not None:
            kept = find_repeated(sql, names)
        create_questions(self._connection, names, kept, run_ids, self._execute)

    def _execute(self, statement: str) -> object:
        return run_interruptible(self._connection, lambda: self._connection.execute(statement))


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
        rows = contents.small_table(table) if table in _WHOLE else make_empty_table(table)
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
