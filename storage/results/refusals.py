"""Messages for statements that cannot run: DuckDB's own words, what exists, and what to do."""

from __future__ import annotations

import re
import textwrap

import duckdb

from storage.errors import QueryError
from storage.sql.macros import named_queries
from storage.tables.schemas import TABLES

_MESSAGE_WIDTH = 80  # columns of a terminal

_WITH_ROWS = (
    duckdb.StatementType.SELECT,
    duckdb.StatementType.EXPLAIN,
    duckdb.StatementType.CALL,
)

_LIST_FOR_ONE = re.compile(r"\[\] -> FLOAT\b")


def refuse_lost_rows(statements: list[duckdb.Statement]) -> None:
    """Refuse statements of which one before the last has rows, which nobody would see.

    Raises: QueryError: likewise.
    """
    lost = [each.query.strip() for each in statements[:-1] if each.type in _WITH_ROWS]
    if lost:
        raise QueryError(
            f"{len(statements)} statements, and only the rows of the last would be shown: run them"
            f" one at a time, or combine them by `union all`; the first is\n  {lost[0]}"
        )


def changes_something(statements: list[duckdb.Statement]) -> bool:
    """Whether any of the statements does not only read."""
    return any(each.type not in _WITH_ROWS for each in statements)


def explain_refusal(err: duckdb.Error, sql: str) -> QueryError:
    """Return the error for a statement that DuckDB refused, with the tables that exist."""
    # A macro and its parameters stay on one line.
    listed = ", ".join(name.replace(" ", "\xa0") for name in (*TABLES, *named_queries()))
    names = fill_message(f"Tables, views, macros: {listed}").replace("\xa0", " ")
    hint = "`gfjobs schema <name>` lists columns and what they mean"
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


def explain_memory(err: duckdb.OutOfMemoryException) -> QueryError:
    """Return the error for a statement that needs more memory than it may have."""
    reason = str(err).partition("\n")[0]
    return QueryError(
        f"{reason}\n\nGive it more memory, as in `gfjobs sql --memory 64GB`, or select less: it"
        " cannot spill to a disk, where any statement could write then"
    )


def fill_message(text: str) -> str:
    """Fill a paragraph of a message, which has names in it."""
    return textwrap.fill(text, _MESSAGE_WIDTH, subsequent_indent="  ", break_long_words=False)


def _taking_one_threshold(sql: str) -> list[str]:
    """Return the macros of a statement that take one threshold, with their arguments."""
    return [name for name in named_queries() if "t)" in name and name.partition("(")[0] in sql]
