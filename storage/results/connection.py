"""Reads results: a DuckDB connection with a view for each table, and queries over it."""

from __future__ import annotations

import contextlib
from contextvars import ContextVar
from typing import TYPE_CHECKING, NamedTuple

import duckdb
import pyarrow as pa

from storage.errors import QueryError, StorageError
from storage.results.contents import read_contents
from storage.results.interrupts import run_interruptible
from storage.results.refusals import (
    changes_something,
    explain_memory,
    explain_refusal,
    fill_message,
    refuse_lost_rows,
)
from storage.results.views import Views
from storage.runs.layout import existing_root, reading, retry_until_stable
from storage.sql.macros import find_named, query_statement, runs_asked_for
from storage.sql.sandbox import Mount, open_duckdb, restrict

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from storage.backends import Root

_OF_CHANGES = (["Count"], ["Success"])
"""Columns of DuckDB's answer to a statement that only changes something."""

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
    views: Views


class _StaleError(StorageError):
    """A file vanished between listing and opening it."""


def _list_and_open(
    root: Root,
    run_ids: Collection[str] | None,
    sql: str | None,
    memory: str | None = None,
    *,
    is_shared: bool = False,
) -> _Opened:
    """Open a connection with all that a statement may use; None: with everything.

    Args:
        root: as for `connect`.
        run_ids: likewise.
        sql: the statement.
        memory: as for `connect`.
        is_shared: whether more may be created for queries of ours, which follow.

    Raises: _StaleError: a merge or a removal deleted a file meanwhile.
    """
    backend = existing_root(root)
    with reading(backend), contextlib.ExitStack() as opened:
        connection = open_duckdb(_CONFIG | ({"memory_limit": memory} if memory else {}))
        opened.callback(connection.close)
        mount = Mount(connection, backend)
        try:
            contents = read_contents(backend, run_ids)
        except FileNotFoundError as err:
            raise _StaleError(f"{err}: a run is changing; try again") from err
        views = Views(connection, mount, contents, keeps_all=is_shared)
        result = _Opened(connection, mount, views)
        _create_views(result, sql)
        restrict(connection, is_locked=not is_shared)
        opened.pop_all()
    return result


def _create_views(opened: _Opened, sql: str | None) -> None:
    """Create what a statement may use; raises like `_list_and_open`."""
    try:
        contents = opened.views.create(sql)
        if gone := contents.gone():
            raise _StaleError(f"{', '.join(gone)} was removed: a run is changing; try again")
    except FileNotFoundError as err:
        raise _StaleError(f"{err}: a run is changing; try again") from err
    except duckdb.Error as err:
        if opened.mount.is_stale:
            raise _StaleError(f"{opened.mount.refusal}: a run is changing; try again") from err
        raise


_SHARED: ContextVar[dict[tuple[str, ...], _Opened] | None] = ContextVar("shared", default=None)


@contextlib.contextmanager
def one_moment() -> Iterator[None]:
    """Let named queries about the same runs share a connection, until the block ends.

    They read the rows of one moment: that of the first query; if files of it were merged or removed
    meanwhile, of a later one. What several of them use, such as the verdict on exit costs, is
    computed once. Queries in other threads share nothing, nor do queries about all runs.
    """
    if _SHARED.get() is not None:
        yield
        return
    shared: dict[tuple[str, ...], _Opened] = {}
    token = _SHARED.set(shared)
    try:
        yield
    finally:
        _SHARED.reset(token)
        for opened in shared.values():
            opened.connection.close()


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
    shared = _SHARED.get() if run_ids is not None else None
    return _query(root, query_statement(name), parameters or None, run_ids, shared=shared)


def _query(
    root: Root,
    sql: str,
    parameters: Mapping[str, object] | None,
    run_ids: Collection[str] | None,
    memory: str | None = None,
    *,
    shared: dict[tuple[str, ...], _Opened] | None = None,
) -> pa.Table:
    def attempt(names: str | None) -> pa.Table:
        if shared is not None and run_ids is not None and names is not None:
            return _read_shared(shared, root, run_ids, sql, parameters)
        return _run(_list_and_open(root, run_ids, names, memory), sql, parameters)

    with _explained(root, run_ids, sql):
        try:
            return retry_until_stable(lambda: attempt(sql), _StaleError)
        except duckdb.CatalogException:
            # It names something that does not exist, or that cannot be found by its text.
            return retry_until_stable(lambda: attempt(None), _StaleError)


def _read_shared(
    shared: dict[tuple[str, ...], _Opened],
    root: Root,
    run_ids: Collection[str],
    sql: str,
    parameters: Mapping[str, object] | None,
) -> pa.Table:
    key = (str(root), *sorted(set(run_ids)))
    try:
        if key in shared:
            _create_views(shared[key], sql)
        else:
            shared[key] = _list_and_open(root, run_ids, sql, is_shared=True)
        return _read(shared[key], sql, parameters)
    except BaseException:  # it may be stale, or have only some of the views
        if key in shared:
            shared.pop(key).connection.close()
        raise


class Session:
    """Runs statements one after the other, of which each sees what earlier ones created.

    Each reads the rows that are committed when it starts, until one creates something, such as a
    table: that belongs to one connection, so later ones read the rows of that moment.

    Args:
        root: the results root.
        memory: as for `connect`.

    Raises: StorageError: there is no such root.
    """

    def __init__(self, root: Root, *, memory: str | None = None) -> None:
        existing_root(root)
        self._root, self._memory = root, memory
        self._kept: _Opened | None = None

    @property
    def is_kept(self) -> bool:
        """Whether statements read the rows of the moment at which one created something."""
        return self._kept is not None

    def run(self, sql: str) -> pa.Table:
        """Run a statement, as `query` does.

        Returns: its rows; a table without columns if it only changes something.
        Raises: as `query`; StorageError also if rows of a kept connection were removed meanwhile,
            with which goes what was created.
        """
        if self._kept is None and not _is_change(sql):
            return query(self._root, sql, memory=self._memory)
        with _explained(self._root, None, sql):
            opened = self._kept or retry_until_stable(
                lambda: _list_and_open(self._root, None, None, self._memory), _StaleError
            )
            try:
                table = _read(opened, sql, None)
            except _StaleError as err:
                self.close()
                raise StorageError(f"{err}. What was created in this session is gone") from err
            except BaseException:
                if self._kept is None:
                    opened.connection.close()
                raise
            self._kept = opened
            return pa.table({}) if table.column_names in _OF_CHANGES else table

    def close(self) -> None:
        """Drop what was created."""
        if self._kept is not None:
            self._kept.connection.close()
            self._kept = None


def _is_change(sql: str) -> bool:
    """Whether a statement does not only read; false for one that cannot be parsed."""
    with contextlib.closing(open_duckdb()) as connection:
        try:
            return changes_something(connection.extract_statements(sql))
        except duckdb.Error:
            return False


@contextlib.contextmanager
def _explained(root: Root, run_ids: Collection[str] | None, sql: str) -> Iterator[None]:
    """Turn DuckDB's errors into ours."""
    try:
        yield
    except duckdb.BinderException as err:
        if "column" in str(err) and (columns := _columns(root, run_ids, sql)):
            raise QueryError(f"{err}\n\n{columns}") from err
        raise explain_refusal(err, sql) from err
    except duckdb.OutOfMemoryException as err:
        raise explain_memory(err) from err
    except duckdb.Error as err:
        raise explain_refusal(err, sql) from err


def _columns(root: Root, run_ids: Collection[str] | None, sql: str) -> str:
    """Return the columns of the tables and views that a query names, a paragraph each."""
    found = []
    with contextlib.closing(_list_and_open(root, run_ids, sql).connection) as connection:
        for name in sorted(find_named(sql)):
            columns = [row[0] for row in connection.execute(f"DESCRIBE FROM {name}").fetchall()]
            found.append(fill_message(f"{name}: {', '.join(columns)}"))
    return "\n".join(found)


def _run(opened: _Opened, sql: str, parameters: Mapping[str, object] | None) -> pa.Table:
    with contextlib.closing(opened.connection):
        return _read(opened, sql, parameters)


def _read(opened: _Opened, sql: str, parameters: Mapping[str, object] | None) -> pa.Table:
    connection = opened.connection
    try:
        table = run_interruptible(connection, lambda: _rows(connection, sql, parameters))
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
        refuse_lost_rows(connection.extract_statements(sql))
    relation = connection.sql(sql, params=parameters)
    # A statement without rows, or only a comment.
    return pa.table({}) if relation is None else relation.to_arrow_table()


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
