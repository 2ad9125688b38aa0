"""The summary of a run: the rows of the views that stand for all of its images.

It is made when a run ends, by the queries that answer without it, and lies beside the rows as one
file a view. The manifest that names the rows names it too, so that rows that come or go leave it
behind in the same step; and it says what else it was made of: the run's baseline, its cells and
nodes, and the text of the queries. Where any of these is another now, readers compute.
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
from storage.sql.macros import SUMMARISED, create_questions, definition, find_needed
from storage.sql.text import quote, view_sql
from storage.tables.parquet import parse_table, read_table
from storage.tables.schemas import SCHEMA_VERSION, TABLES, VERSION_KEY

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from typing_extensions import Self

    from storage.runs.layout import RunPaths

PLACE = "place_in_run"
"""The column that keeps the order of a view's rows."""


@dataclass(frozen=True)
class Inputs:
    """What a summary is made of beside rows: tables, and files; of no nodes b""."""

    run: pa.Table
    cells: bytes
    nodes: bytes

    @classmethod
    def read(cls, paths: RunPaths) -> Self:
        """Read them of a run.

        Raises: FileNotFoundError: it was removed meanwhile.
        """
        nodes = b""
        with contextlib.suppress(FileNotFoundError):  # no node worked yet
            nodes = paths.nodes.read()
        return cls(read_table(paths.run), paths.cells.read(), nodes)

    @property
    def made_of(self) -> str:
        """Their digest, with the queries'."""
        parts = [
            definition(),
            *self.run["baseline"].to_pylist(),
            hashlib.sha256(self.cells).hexdigest(),
            hashlib.sha256(self.nodes).hexdigest(),
        ]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def tables(self) -> dict[str, pa.Table]:
        """They as tables."""
        tables = {"runs": self.run, "cells": parse_table(self.cells, "cells.parquet")}
        if self.nodes:
            tables["nodes"] = parse_table(self.nodes, "nodes.parquet")
        return tables


def is_current(summary: Summary | None, inputs: Inputs) -> bool:
    """Whether a summary that a manifest names may be read in the place of its rows."""
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
        connection: without tables or views of these names.
        inputs: of the run.
        scans: SQL of all its rows, by table; a table without rows may be left out.
        folder: where the files go, named after their views and `suffix`.
        suffix: of their names.

    Returns: None if DuckDB could not answer, for example for want of memory; then whoever asks
        for the rows of a view is told.
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
    """Create all tables, and what a summary is selected from, over the rows of one run."""
    for table in TABLES:
        rows = scans.get(table)
        if rows is None:
            connection.register(f"{table}_rows", tables.get(table, TABLES[table].empty_table()))
            rows = f"FROM {table}_rows"
        connection.execute(f"CREATE VIEW {table} AS {view_sql(table, rows)}")
    create_questions(connection, find_needed(" ".join(SUMMARISED)))


def order() -> str:
    """Number the rows in the order in which they come."""
    return f"row_number() OVER () AS {PLACE}"


def copy_rows(connection: duckdb.DuckDBPyConnection, rows: str, target: Path) -> None:
    """Write what a statement gives to a Parquet file of ours."""
    connection.execute(
        f"COPY ({rows}) TO {quote(str(target))} (FORMAT parquet, COMPRESSION zstd, "
        f"KV_METADATA {{{VERSION_KEY}: '{SCHEMA_VERSION}'}})"
    )


def stored_scan(files: Iterable[str]) -> str:
    """Select the stored rows of a view, with the column of their order, from files by name."""
    names = ", ".join(quote(file) for file in files)
    return f"FROM read_parquet([{names}], hive_partitioning = false)"
