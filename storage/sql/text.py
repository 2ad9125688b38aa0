"""The few pieces of SQL text that are put together from names: literals, scans, query files."""

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
    """Write a string literal."""
    return "'" + text.replace("'", "''") + "'"


def parquet_scan(table: str, files: Iterable[str]) -> str:
    """Select the columns of a table from an explicit list of Parquet files, at least one.

    The files are named as the connection knows them.

    Files of an older version may lack some columns, which are NULL there.
    """
    names = ", ".join(quote(file) for file in files)
    columns = ", ".join(f'"{name}"' for name in TABLES[table].names)
    # A folder called model=x would replace the column model. Brackets and stars need no care:
    # DuckDB takes a path that exists as it is.
    is_mixed = table in ADDED_COLUMNS
    source = f"read_parquet([{names}], hive_partitioning = false, union_by_name = {is_mixed})"
    if is_mixed:
        added = ADDED_COLUMNS[table]
        typed = ", ".join(f"NULL::{kind} AS {name}" for name, kind in added.items())
        source = f"(SELECT {typed} WHERE false UNION ALL BY NAME FROM {source})"
    return f"SELECT {columns} FROM {source}"


def view_sql(table: str, rows: str, cells: str = "cells") -> str:
    """Select what a query sees of a table: its rows, and the digest of their data set.

    The digest comes from the row's cell, of which GROUP BY leaves one each: DuckDB then knows that
    the join neither drops nor doubles a row, and leaves it out where the digest is not used.

    Args:
        table: a key of TABLES.
        rows: SQL of its rows.
        cells: what the table `cells` of the same runs is called.
    """
    if table not in DIGEST_TABLES:
        return rows
    return (
        f"SELECT r.*, c.{DIGEST} FROM ({rows}) r LEFT JOIN ("
        f"SELECT run_id, cell_id, any_value({DIGEST}) AS {DIGEST} FROM {cells} "
        "GROUP BY run_id, cell_id) c ON c.run_id = r.run_id AND c.cell_id = r.cell_id"
    )


def query_text(name: str) -> str:
    """Read a query of `storage/queries`, in whichever of its folders.

    Raises: StorageError: there is none of that name.
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
    """The file of each query by its name; there is a folder for each question."""
    folders = [each for each in (resources.files("storage") / "queries").iterdir() if each.is_dir()]
    return {
        entry.name.removesuffix(".sql"): entry
        for folder in folders
        for entry in folder.iterdir()
        if entry.name.endswith(".sql")
    }
