"""The reference page of tables, views and macros, as a connection to an empty root has them."""

from __future__ import annotations

import itertools
import tempfile
from typing import TYPE_CHECKING

from markdown_text import code, escape, table

import storage
from storage.sql.macros import MACROS, VIEWS
from storage.sql.text import query_text

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_SAMPLES = {"run": "'latest'", "model_name": "'any'", "t": "0.5", "ts": "[0.5]"}
"""A value for each argument of a macro, with which its columns can be asked for."""

_INTRODUCTION = """\
# Tables, views and macros

Made from the results database: what `gfjobs sql` and `storage.connect` show. What they are for,
with examples: [Results and SQL](../results.md). `DESCRIBE FROM NAME` lists columns in a query.

"""


def write_page() -> str:
    """Return the page: every table, view and macro with its columns and their types."""
    with tempfile.TemporaryDirectory() as root, storage.connect(root) as connection:
        parts = [_INTRODUCTION, "## Tables\n\n"]
        parts += [_section(connection, name, name, "") for name in storage.TABLES]
        parts.append("## Views\n\nQueries over the tables, without arguments.\n\n")
        parts += [_section(connection, name, name, _comment(name)) for name in VIEWS]
        parts.append("## Macros\n\nQueries with arguments; those with a value are optional.\n\n")
        for name, arguments in MACROS.items():
            call = f"{name}({', '.join(_SAMPLES[each] for each in arguments if ':=' not in each)})"
            heading = f"{name}({', '.join(arguments)})"
            parts.append(_section(connection, heading, call, _comment(name)))
    return "".join(parts)


def _section(connection: DuckDBPyConnection, heading: str, call: str, text: str) -> str:
    name = call.partition("(")[0]
    columns = connection.execute(f"DESCRIBE FROM {call}").fetchall()
    rows = [(code(column), code(kind), _meaning(name, column)) for column, kind, *_ in columns]
    has_meanings = any(meaning for *_, meaning in rows)
    heads = ("column", "type", "meaning")[: 3 if has_meanings else 2]
    return f"### `{heading}`\n\n{text}{table(heads, (row[: len(heads)] for row in rows))}\n"


def _meaning(_table: str, _column: str) -> str:
    """Return what a column means; empty as long as nobody says it."""
    return ""


def _comment(name: str) -> str:
    """Return the comment that opens a query: paragraphs, and a list of lines that begin with *."""
    lines = itertools.takewhile(lambda line: line.startswith("--"), query_text(name).splitlines())
    blocks: list[list[str]] = [[]]
    for line in (line.removeprefix("--").strip() for line in lines):
        if not line or line.startswith("* "):
            blocks.append([])
        if line:
            blocks[-1].append(line)
    return "".join(_block(" ".join(block)) for block in blocks if block)


def _block(text: str) -> str:
    if text.startswith("* "):
        return f"* {escape(text.removeprefix('* '))}\n\n"
    return f"{escape(text)}\n\n"
