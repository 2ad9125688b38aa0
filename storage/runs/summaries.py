"""The summary of a run: the rows of the views that stand for all of its images.

It is made when a run ends, by the same queries that readers would run without it, and is stored
next to the rows as one file per view. The manifest that names the rows names it too, so a change of
the rows drops it in the same step. It also records its other inputs: the run's baseline, its cells
and nodes, and the text of the queries. If any of these has changed, readers compute the views.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa

from storage.runs.manifests import Summary
from storage.sql.macros import SUMMARISED, create_questions, definition, find_needed, find_repeated
from storage.sql.text import quote, view_sql
from storage.tables.parquet import parse_table, read_table
from storage.tables.schemas import (
    SCHEMA_VERSION,
    TABLES,
    VERSION_KEY,
    join_tables,
    make_empty_table,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from typing_extensions import Self

    from storage.runs.layout import RunPaths

PLACE = "place_in_run"
"""The column that keeps the order of a view's rows."""


@dataclass(frozen=True)
class Inputs:
    """The inputs of a summary other than rows, as a table and files; `nodes` may be empty."""

    run: pa.Table
    cells: bytes
    nodes: bytes

    @classmethod
    def read(cls, paths: RunPaths) -> Self:
        """Read the inputs of a run.

        Raises: FileNotFoundError: the run was removed meanwhile.
        """
        nodes = b""
        with contextlib.suppress(FileNotFoundError):  # no node has worked yet
            nodes = paths.nodes.read()
        return cls(read_table(paths.run), paths.cells.read(), nodes)

    @property
    def made_of(self) -> str:
        """Their digest, which includes that of the queries."""
        parts = [
            definition(),
            *self.run["baseline"].to_pylist(),
            hashlib.sha256(self.cells).hexdigest(),
            hashlib.sha256(self.nodes).hexdigest(),
        ]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def tables(self) -> dict[str, pa.Table]:
        """Return them as tables."""
        tables = {"runs": self.run, "cells": parse_table(self.cells, "cells.parquet")}
        if self.nodes:
            tables["nodes"] = parse_table(self.nodes, "nodes.parquet")
        return {name: join_tables(name, [table]) for name, table in tables.items()}


def is_current(summary: Summary | None, inputs: Inputs) -> bool:
    """Whether a summary that a manifest names may be read instead of its rows."""
    return (
        summary is not None
        and summary.made_of == inputs.made_of
        and set(summary.files) == set(SUMMARISED)
    )


def write_summary(
    connection: duckdb.DuckDBPyConnection,
    inputs: Inputs,
    scans: Mapping[str, str],
    folder: Path,
    suffix: str,
) -> Summary | None:
    """Write the summary of a run into a folder.

    Args:
        connection: has no tables or views of these names.
        inputs: those of the run.
        scans: SQL of all its rows, by table; a table without rows may be left out.
        folder: for the files, which are named after their views and `suffix`.
        suffix: of their names.

    Returns: None if DuckDB failed, for example for lack of memory; a reader that then queries the
        view gets the error.
    """
    try:
        create_run_views(connection, inputs.tables(), scans)
        files = {view: f"{view}-{suffix}.parquet" for view in SUMMARISED}
        for view, name in files.items():
            rows = f"SELECT *, {order()} FROM {view}"
            copy_rows(connection, rows, folder / name)
    except duckdb.Error:
        return None
    return Summary(files, inputs.made_of)


def create_run_views(
    connection: duckdb.DuckDBPyConnection, tables: Mapping[str, pa.Table], scans: Mapping[str, str]
) -> None:
    """Create views of all tables of one run, and the views that a summary is selected from."""
    for table in TABLES:
        rows = scans.get(table)
        if rows is None:
            connection.register(f"{table}_rows", tables.get(table, make_empty_table(table)))
            rows = f"FROM {table}_rows"
        connection.execute(f"CREATE VIEW {table} AS {view_sql(table, rows)}")
    needed = find_needed(" ".join(SUMMARISED))
    create_questions(connection, needed, find_repeated(" ".join(SUMMARISED), needed))


def order() -> str:
    """Return an SQL column that numbers the rows in their order."""
    return f"row_number() OVER () AS {PLACE}"


def copy_rows(connection: duckdb.DuckDBPyConnection, rows: str, target: Path) -> None:
    """Write the rows of a statement to a Parquet file with our schema version."""
    connection.execute(
        f"COPY ({rows}) TO {quote(str(target))} (FORMAT parquet, COMPRESSION zstd, "
        f"KV_METADATA {{{VERSION_KEY}: '{SCHEMA_VERSION}'}})"
    )


def stored_scan(files: Iterable[str]) -> str:
    """Return SQL that selects the stored rows of a view from files, with the column of order."""
    names = ", ".join(quote(file) for file in files)
    return f"FROM read_parquet([{names}], hive_partitioning = false)"
