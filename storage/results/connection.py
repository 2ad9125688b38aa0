"""Reads results: a DuckDB connection with a view for each table, and queries over it."""

from __future__ import annotations

import contextlib
import re
import textwrap
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import duckdb
import pyarrow as pa

from storage.errors import QueryError, StorageError
from storage.results.contents import read_contents
from storage.results.views import create_views
from storage.runs.layout import existing_root, reading, retry_until_stable
from storage.sql.macros import find_named, named_queries, runs_asked_for
from storage.sql.sandbox import Mount, open_duckdb, restrict
from storage.sql.text import query_text
from storage.tables.schemas import TABLES

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from storage.backends import Root

T = TypeVar("T")

_MESSAGE_WIDTH = 80  # columns of a terminal
_INTERRUPT_EVERY_S = 0.1

# A query that names an extension must not make DuckDB download it.
_CONFIG = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
}


def connect(
    root: Root, run_ids: Collection[str] | None = None, *, memory: str | None = None
) -> duckdb.DuckDBPyConnection:
    """Open results for SQL: a database in memory, with a view for each table, and all macros.

    The connection is locked: it reads these rows and what is registered with it. No statement can
    write a file, reach another file or an address, load an extension, or change a setting.

    It shows the rows that were committed when it was made. It becomes stale when a run is merged or
    removed (DuckDB then finds no file): connect again. A table without rows is an empty view with
    its types.

    Args:
        root: the results root.
        run_ids: the only runs to show, which makes a query about one run as quick as if it were
            alone; default all.
        memory: most memory of a query, such as 8GB; None: 80 % of the machine's.

    Raises:
        StorageError: there is no such root, or a manifest is damaged.
        SchemaVersionError: a file was written by a newer version.
        duckdb.Error: a file vanished while it was opened, as above.
    """
    opened = retry_until_stable(lambda: _list_and_open(root, run_ids, None, memory), _StaleError)
    return opened.connection


class _Opened(NamedTuple):
    connection: duckdb.DuckDBPyConnection
    mount: Mount


class _StaleError(StorageError):
    """A file vanished between listing and opening it."""


def _list_and_open(
    root: Root, run_ids: Collection[str] | None, sql: str | None, memory: str | None = None
) -> _Opened:
    """Open a connection with all that a statement may use; None: with everything.

    Raises: _StaleError: a merge or a removal deleted a file meanwhile.
    """
    backend = existing_root(root)
    with reading(backend), contextlib.ExitStack() as opened:
        connection = open_duckdb(_CONFIG | ({"memory_limit": memory} if memory else {}))
        opened.callback(connection.close)
        mount = Mount(connection, backend)
        try:
            contents = read_contents(backend, run_ids)
            create_views(connection, mount, contents, sql)
            restrict(connection)
            if gone := contents.gone():
                raise _StaleError(f"{', '.join(gone)} was removed: a run is changing; try again")
        except FileNotFoundError as err:
            raise _StaleError(f"{err}: a run is changing; try again") from err
        except duckdb.Error as err:
            if mount.is_stale:
                raise _StaleError(f"{mount.refusal}: a run is changing; try again") from err
            raise
        opened.pop_all()
    return _Opened(connection, mount)


def query(
    root: Root,
    sql: str,
    *,
    run_ids: Collection[str] | None = None,
    memory: str | None = None,
) -> pa.Table:
    """Run one or several statements over a root, and return the rows of the last.

    Args:
        root: the results root.
        sql: the statements.
        run_ids: as for `connect`.
        memory: as for `connect`.

    Raises:
        KeyboardInterrupt: the user ended it.
        QueryError: DuckDB refused, with its message and the tables that exist; or a statement
            before the last has rows too.
        StorageError, SchemaVersionError: as `connect`.
    """
    return _query(root, sql, None, run_ids, memory)


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
    memory: str | None = None,
) -> pa.Table:
    def attempt(names: str | None) -> pa.Table:
        return _run(_list_and_open(root, run_ids, names, memory), sql, parameters)

    try:
        try:
            return retry_until_stable(lambda: attempt(sql), _StaleError)
        except duckdb.CatalogException:
            # It names something that does not exist, or that cannot be found by its text.
            return retry_until_stable(lambda: attempt(None), _StaleError)
    except duckdb.BinderException as err:
        if "column" in str(err):
            raise QueryError(f"{err}\n\n{_columns(root, run_ids, sql)}") from err
        raise _query_error(err, sql) from err
    except duckdb.OutOfMemoryException as err:
        reason = str(err).partition("\n")[0]
        raise QueryError(
            f"{reason}\n\nGive it more memory, as in `gfjobs sql --memory 64GB`, or select less: it"
            " cannot spill to a disk, where any statement could write then"
        ) from err
    except duckdb.Error as err:
        raise _query_error(err, sql) from err


def _columns(root: Root, run_ids: Collection[str] | None, sql: str) -> str:
    """Return the columns of the tables and views that a query names, a paragraph each."""
    found = []
    with contextlib.closing(_list_and_open(root, run_ids, sql).connection) as connection:
        for name in sorted(find_named(sql)):
            columns = [row[0] for row in connection.execute(f"DESCRIBE FROM {name}").fetchall()]
            found.append(_fill(f"{name}: {', '.join(columns)}"))
    return "\n".join(found) or "`DESCRIBE FROM <name>` lists columns"


def _run(opened: _Opened, sql: str, parameters: Mapping[str, object] | None) -> pa.Table:
    with contextlib.closing(opened.connection) as connection:
        try:
            table = _interruptible(connection, lambda: _rows(connection, sql, parameters))
        except duckdb.Error as err:
            if opened.mount.is_stale:
                raise _StaleError(f"{opened.mount.refusal}: a run is changing; try again") from err
            raise
        return table.rename_columns(_distinct(table.column_names))


def _rows(
    connection: duckdb.DuckDBPyConnection, sql: str, parameters: Mapping[str, object] | None
) -> pa.Table:
    for run in runs_asked_for(sql):
        connection.sql(f"SELECT run_named({run})").fetchall()
    if parameters is None:
        _refuse_lost_rows(connection.extract_statements(sql))
    relation = connection.sql(sql, params=parameters)
    # A statement without rows, or only a comment.
    return pa.table({}) if relation is None else relation.to_arrow_table()


def _interruptible(connection: duckdb.DuckDBPyConnection, work: Callable[[], T]) -> T:
    """Run queries in a thread of their own, so that Ctrl-C ends them within moments.

    DuckDB 2.0 looks for signals itself, but one of its threads may miss the interrupt and run to
    its end, for as long as that takes, while the main thread waits for it out of Python's reach.
    """
    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(work)
        try:
            return working.result()
        except KeyboardInterrupt:
            while not working.done():
                connection.interrupt()
                wait([working], timeout=_INTERRUPT_EVERY_S)
            raise


_WITH_ROWS = (
    duckdb.StatementType.SELECT,
    duckdb.StatementType.EXPLAIN,
    duckdb.StatementType.CALL,
)


def _refuse_lost_rows(statements: list[duckdb.Statement]) -> None:
    """Refuse statements of which one before the last has rows, which nobody would see.

    Raises: QueryError: likewise.
    """
    lost = [each.query.strip() for each in statements[:-1] if each.type in _WITH_ROWS]
    if lost:
        raise QueryError(
            f"{len(statements)} statements, and only the rows of the last would be shown: run them"
            f" one at a time, or combine them by `union all`; the first is\n  {lost[0]}"
        )


def _distinct(names: list[str]) -> list[str]:
    """Number repeated names, as DuckDB's CSV writer does."""
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


def _query_error(err: duckdb.Error, sql: str) -> QueryError:
    # A macro and its parameters stay on one line.
    listed = ", ".join(name.replace(" ", "\xa0") for name in (*TABLES, *named_queries()))
    names = _fill(f"Tables, views, macros: {listed}").replace("\xa0", " ")
    hint = "`DESCRIBE FROM <name>` lists columns"
    text = str(err).strip()
    if "Traceback (most recent call last)" in text:  # raised by our own file system
        text = text.splitlines()[-1]
    if isinstance(err, duckdb.PermissionException) or "PermissionError" in text:
        hint += (
            "\n\nA query reads these results and nothing else, and writes nothing: send its rows "
            "to a file with `gfjobs sql ... --format csv > rows.csv`"
        )
    if _LIST_FOR_ONE.search(text) and (single := _taking_one_threshold(sql)):
        hint += (
            f"\n\n{', '.join(single)}: t is one threshold for all gates. `at_thresholds([t1, t2])`"
            " takes a list, one for each gate"
        )
    return QueryError(f"{text}\n\n{names}\n{hint}")


_LIST_FOR_ONE = re.compile(r"\[\] -> FLOAT\b")


def _taking_one_threshold(sql: str) -> list[str]:
    """Return the macros of a statement that take one threshold, with their arguments."""
    return [name for name in named_queries() if "t)" in name and name.partition("(")[0] in sql]


def _fill(text: str) -> str:
    return textwrap.fill(text, _MESSAGE_WIDTH, subsequent_indent="  ", break_long_words=False)
