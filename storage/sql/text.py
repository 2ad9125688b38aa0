"""SQL text that is built from names: literals, scans, query files."""

from __future__ import annotations

import functools
from importlib import resources
from typing import TYPE_CHECKING

from storage.errors import StorageError
from storage.tables.schemas import ADDED_COLUMNS, DIGEST, DIGEST_TABLES, TABLES, nearest

if TYPE_CHECKING:
    from collections.abc import Iterable
    from importlib.abc import Traversable


def quote(text: str) -> str:
    """Return an SQL string literal."""
    return "'" + text.replace("'", "''") + "'"


def parquet_scan(table: str, files: Iterable[str]) -> str:
    """Return SQL that selects the columns of a table from a list of Parquet files, at least one.

    The files are named as the connection knows them. Files of an older version may lack some
    columns, which are NULL there.
    """
    names = ", ".join(quote(file) for file in files)
    columns = ", ".join(f'"{name}"' for name in TABLES[table].names)
    # Hive partitioning would let a folder called model=x replace the column model. Brackets and
    # stars need no escaping: DuckDB takes a path that exists literally.
    is_mixed = table in ADDED_COLUMNS
    source = f"read_parquet([{names}], hive_partitioning = false, union_by_name = {is_mixed})"
    if is_mixed:
        added = ADDED_COLUMNS[table]
        typed = ", ".join(f"NULL::{kind} AS {name}" for name, kind in added.items())
        source = f"(SELECT {typed} WHERE false UNION ALL BY NAME FROM {source})"
    return f"SELECT {columns} FROM {source}"


def view_sql(table: str, rows: str, cells: str = "cells") -> str:
    """Return SQL for a table as queries see it: its rows, with the digest of their data set.

    The digest comes from the row's cell. GROUP BY leaves one row per cell: DuckDB then knows that
    the join neither drops nor duplicates a row, and skips it if the digest is not used.

    Args:
        table: a key of TABLES.
        rows: SQL of its rows.
        cells: name of the table `cells` of the same runs.
    """
    if table not in DIGEST_TABLES:
        return rows
    return (
        f"SELECT r.*, c.{DIGEST} FROM ({rows}) r LEFT JOIN ("
        f"SELECT run_id, cell_id, any_value({DIGEST}) AS {DIGEST} FROM {cells} "
        "GROUP BY run_id, cell_id) c ON c.run_id = r.run_id AND c.cell_id = r.cell_id"
    )


def query_text(name: str) -> str:
    """Read a query from any folder of `storage/queries`.

    Raises: StorageError: there is no query of that name.
    """
    found = query_files()
    if name not in found:
        known = tuple(sorted(found))
        raise StorageError(
            f"there is no query {name!r}{nearest(name, known)}; queries: {', '.join(known)}"
        )
    return found[name].read_text(encoding="utf-8")


@functools.cache
def query_files() -> dict[str, Traversable]:
    """Return the file of each query by its name; related queries share a folder."""
    folders = [each for each in (resources.files("storage") / "queries").iterdir() if each.is_dir()]
    return {
        entry.name.removesuffix(".sql"): entry
        for folder in folders
        for entry in folder.iterdir()
        if entry.name.endswith(".sql")
    }
