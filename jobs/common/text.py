"""Text around tables: 80 columns wide, broken at the ends of words, never in a path or a name."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

WIDTH = 80
"""Columns of a terminal."""


def folded(text: str, width: int = WIDTH, *, indent: str = "  ") -> str:
    """A paragraph; its lines after the first start with `indent`."""
    return textwrap.fill(
        text, width, subsequent_indent=indent, break_on_hyphens=False, break_long_words=False
    )


def paragraphs(lines: Iterable[str]) -> str:
    """A paragraph a line."""
    return "".join(f"{folded(line)}\n" for line in lines)


def remarks(lines: Iterable[str]) -> str:
    """What is said below a table, each with a dash."""
    return paragraphs(f"– {line}" for line in lines)
