"""Checks before the store writes: it refuses rows of another run or cell, or of another schema."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from storage.errors import StorageError
from storage.tables.records import CellRow, NodeRow, RunRow, rows_to_table
from storage.tables.schemas import COMMITTED_TABLES, table_schema

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pyarrow as pa


def rows_as_tables(
    run: RunRow, cells: Sequence[CellRow], run_id: str | None = None
) -> tuple[pa.Table, pa.Table]:
    """Turn a run and its cells into tables.

    Raises: StorageError: they are not of one run (of `run_id`, if given), or do not fit.
    """
    if run.status in ("interrupted", "damaged"):
        raise StorageError(f"the status {run.status!r} is only shown to readers, and never stored")
    check_run_ids(run_id or run.run_id, (run, *cells))
    times = Counter(cell.cell_id for cell in cells)
    twice = sorted(cell_id for cell_id in times if times[cell_id] > 1)
    if twice:
        raise StorageError(f"a cell may occur only once in a run; found twice: {', '.join(twice)}")
    return rows_to_table(RunRow, [run]), rows_to_table(CellRow, cells)


def check_run_ids(run_id: str, rows: Sequence[RunRow | CellRow | NodeRow]) -> None:
    """Check that rows are of this run.

    Raises: StorageError: some are of another run.
    """
    others = sorted({row.run_id for row in rows if row.run_id != run_id})
    if others:
        raise StorageError(f"rows of run {run_id} carry the run_id {', '.join(others)}")


def check_shard(run_id: str, cell_id: str, tables: Mapping[str, pa.Table]) -> None:
    """Check that tables hold rows of one cell of this run.

    Raises: StorageError: one is not committed by shard, not of its schema, or of another cell.
    """
    for name, table in tables.items():
        if name not in COMMITTED_TABLES:
            raise StorageError(
                f"table {name!r} is not committed by shard; those that "
                f"are: {', '.join(COMMITTED_TABLES)}"
            )
        check_table(name, table)
        check_column(table, "run_id", run_id)
        check_column(table, "cell_id", cell_id)


def check_late(name: str, run_id: str, table: pa.Table) -> None:
    """Check that rows that arrived after their shard are of this run.

    Raises: StorageError: it is not of its schema, or of another run.
    """
    check_table(name, table)
    check_column(table, "run_id", run_id)


def check_table(name: str, table: pa.Table) -> None:
    """Check that a table has exactly its schema.

    Raises: StorageError: it has not; the message says which columns differ.
    """
    schema = table_schema(name)
    if table.schema.equals(schema):
        return
    wanted = {field.name: str(field.type) for field in schema}
    found = {field.name: str(field.type) for field in table.schema}
    wrong = [
        f"{column}: {found.get(column, 'absent')}, not {wanted.get(column, 'a column')}"
        for column in {**wanted, **found}
        if wanted.get(column) != found.get(column)
    ]
    raise StorageError(
        f"table {name} does not match its schema: "
        f"{'; '.join(wrong) or 'other order of columns'}; "
        f"make it with storage.build_table({name!r}, ...)"
    )


def check_column(table: pa.Table, column: str, wanted: str) -> None:
    """Check that a column holds only the value `wanted`.

    Raises: StorageError: it holds another value.
    """
    others = [value for value in table[column].unique().to_pylist() if value != wanted]
    if others:
        raise StorageError(f"rows of {column} {wanted} carry the {column} {others[0]!r}")
