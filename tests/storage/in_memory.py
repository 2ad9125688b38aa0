"""Rows in tables in memory, with the questions over them: for tests of what a question answers.

DuckDB takes most of the time of a small question to understand what it is made of: here that is
done once for a whole process, and nothing is written. That files give the same rows is held by the
tests of commits, merges and catalog; that the questions work over files, by test_several_runs.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import duckdb

from storage import CellRow, NodeRow, RunRow, rows_to_table
from storage.results import connection
from storage.runs.manifests import entries_to_table
from storage.sql import macros
from storage.sql.macros import create_questions, find_needed
from storage.sql.text import query_text, view_sql
from storage.tables.schemas import TABLES

from .conftest import Builder

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pyarrow as pa


class Memory:
    """A database with all tables, views and macros."""

    def __init__(self) -> None:
        self._connection = duckdb.connect(config={"threads": 1})
        for table, schema in TABLES.items():
            self._connection.register("arriving", schema.empty_table())
            self._connection.execute(f"CREATE TABLE rows_of_{table} AS FROM arriving")
            rows = view_sql(table, f"FROM rows_of_{table}")
            self._connection.execute(f"CREATE VIEW {table} AS {rows}")
        create_questions(self._connection, find_needed(None))
        self._exits = macros._most_exits(self._connection)

    def clear(self) -> None:
        """Forget all rows."""
        for table in TABLES:
            self._connection.execute(f"DELETE FROM rows_of_{table}")  # noqa: S608 (our names)

    def add(self, table: str, rows: pa.Table) -> None:
        """Add rows of a table."""
        self._connection.register("arriving", rows)
        self._connection.execute(f"INSERT INTO rows_of_{table} BY NAME FROM arriving")
        self._connection.unregister("arriving")

    def query(self, sql: str, parameters: dict[str, object] | None = None) -> list[dict[str, Any]]:
        """Ask; the rows of the answer."""
        if (exits := macros._most_exits(self._connection)) != self._exits:
            # Some macros have lines for each exit that there is.
            repeated = {name for name in macros.MACROS if macros._is_repeated(name)}
            for name in repeated:
                self._connection.execute(f"DROP MACRO TABLE {name}")
            create_questions(self._connection, repeated)
            self._exits = exits
        answer = self._connection.execute(sql, parameters)
        names = connection._distinct([column[0] for column in answer.description])
        return [dict(zip(names, row, strict=True)) for row in answer.fetchall()]

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


class InMemory(Builder):
    """A builder of runs that are asked and not written."""

    def __init__(self, memory: Memory, root: Path, run_id: str = "run-1") -> None:
        """Build for a database in memory; `root` is of a run that is stored after all."""
        super().__init__(root, run_id)
        self._memory = memory

    def store(self, nodes: Sequence[NodeRow] = (), *, merge: bool = False) -> None:  # noqa: ARG002
        """Add all that was planned, as a finished run."""
        run = dataclasses.replace(self.run, status="done")
        self._memory.add("runs", rows_to_table(RunRow, [run]))
        self._memory.add("cells", rows_to_table(CellRow, self.cells))
        self._memory.add("nodes", rows_to_table(NodeRow, nodes))
        entries = [entry for entry, _ in self.tables]
        self._memory.add("commits", entries_to_table(self.run.run_id, entries))
        for _, tables in self.tables:
            for name, rows in tables.items():
                self._memory.add(name, rows)

    def add_rows(self, table: str, rows: pa.Table) -> None:
        """Add rows that are of no cell."""
        self._memory.add(table, rows)

    def query(self, sql: str) -> list[dict[str, Any]]:
        """Ask of all runs that are there."""
        return self._memory.query(sql)

    def named(self, name: str, **parameters: object) -> list[dict[str, Any]]:
        """Ask a query of `storage/queries` of all runs that are there."""
        return self._memory.query(query_text(name), parameters or None)

    def beside(self, run_id: str) -> InMemory:
        """Build another run of the same root."""
        return InMemory(self._memory, self.root, run_id)

    def anew(self) -> InMemory:
        """Begin anew, without any run."""
        self._memory.clear()
        return self.beside(self.run.run_id)
