"""Splits a text into its SQL statements, each with its line, as DuckDB ends them: by semicolons.

A semicolon in a string, a quoted name or a comment ends nothing. DuckDB itself splits a text only
if all of it is right; a prompt has to know whether a statement is complete while it is typed.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_TOKEN = re.compile(
    r"(?P<comment>--[^\n]*|/\*.*?\*/)"
    r"|(?P<end>;)"
    # What is opened and never closed takes all of the rest.
    r"|/\*.*"
    r"|(?<!\w)[eE]'(?:[^'\\]|\\.|'')*(?:'|\Z)"
    r"|'(?:[^']|'')*(?:'|\Z)"
    r'|"(?:[^"]|"")*(?:"|\Z)'
    r"|(?<!\w)\$((?:[A-Za-z_]\w*)?)\$.*?(?:\$\3\$|\Z)"
    r"|\w+|\S",
    re.DOTALL,
)


class Statement(NamedTuple):
    """One statement of a text.

    Attributes:
        sql: its text, without the semicolon and what stands before it.
        line: of its first word in the text, from 1.
        is_ended: whether a semicolon ends it.
    """

    sql: str
    line: int
    is_ended: bool


def split_statements(text: str) -> list[Statement]:
    """Split a text into statements; comments before a statement and empty ones are dropped."""
    found: list[Statement] = []
    start: int | None = None
    line, counted = 1, 0

    def add(begin: int, end: int, *, is_ended: bool) -> None:
        nonlocal line, counted
        line += text.count("\n", counted, begin)
        counted = begin
        found.append(Statement(text[begin:end].rstrip(), line, is_ended))

    for token in _TOKEN.finditer(text):
        if token["comment"]:
            continue
        if not token["end"]:
            start = token.start() if start is None else start
        elif start is not None:
            add(start, token.start(), is_ended=True)
            start = None
    if start is not None:
        add(start, len(text), is_ended=False)
    return found
