"""How the rows of a query are printed: as a table for people, or encoded for programs."""

from __future__ import annotations

import sys
from typing import Any

from jobs.cli.base import narrate, show
from jobs.common.errors import UsageError

SHOWN_ROWS = 1000
"""Most rows of a table; the other formats give all."""


def show_rows(rows: Any, query: str, *, is_all: bool = False, how_all: str = "--all") -> None:
    """Print a result as a table.

    Args:
        rows: the result, as `storage.query` returns it.
        query: its statement; the columns that it names are shown first.
        is_all: a terminal gets all columns.
        how_all: what the user gives to get all columns.
    """
    import storage
    from jobs.common.result_table import result_table

    values = storage.table_values(rows.slice(0, SHOWN_ROWS))
    show(result_table(rows.column_names, values, query, is_all=is_all, how_all=how_all))
    if len(values) < rows.num_rows:
        narrate(f"{len(values):,} of {rows.num_rows:,} rows; --format csv gives all")


def show_encoded(rows: Any, form: str) -> None:
    """Print a result in a format for programs or papers.

    Raises: UsageError: bytes would go to a terminal.
    """
    import storage
    from jobs.common.tables import markdown_table

    if form == "md":
        show(markdown_table(rows.column_names, storage.table_values(rows)))
        return
    if form == "parquet" and sys.stdout.isatty():
        raise UsageError("parquet is binary; send it to a file: gfjobs sql ... > rows.parquet")
    show(storage.encode(rows, form))
