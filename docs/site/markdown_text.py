"""Markdown of plain text, of code and of tables."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_MARKS = re.compile(r"([\\`*_{}\[\]#|])")
_ENTITIES = {"&": "&amp;", "<": "&lt;", "|": "&#124;"}
_CODE = re.compile(r"(`[^`]+`)")


def escape(text: str) -> str:
    """Return Markdown that shows a text as it stands in one line; `code` stays code."""
    parts = _CODE.split(" ".join(text.split()))
    return "".join(
        code(part[1:-1]) if _CODE.fullmatch(part) else _escape_marks(part) for part in parts
    )


def _escape_marks(text: str) -> str:
    return _MARKS.sub(r"\\\1", text.replace("&", _ENTITIES["&"]).replace("<", _ENTITIES["<"]))


def code(text: str) -> str:
    """Return Markdown of code; it may stand in a cell of a table, too."""
    if "|" not in text:
        return f"`{text}`"
    return f"<code>{''.join(_ENTITIES.get(mark, mark) for mark in text)}</code>"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; its cells are Markdown already."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
