"""Text for a terminal: paragraphs of 80 columns, and names that cannot move its cursor.

Lines are broken between words, never in a path or a name. Names come from files of other people:
classes of a checkpoint, folders of a data set, models of a grid.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable
from typing import Any

ShowText = Callable[[str], None]
"""Shows the user a message."""

WIDTH = 80
"""Columns of a terminal."""

_KEPT = "\n\t"
# C0 and C1, and what changes the writing direction or breaks lines without "\n".
_ODD = (*range(0x20), *range(0x7F, 0xA0), *range(0x2028, 0x202F), *range(0x2066, 0x206A))
_ESCAPES = {code: ascii(chr(code))[1:-1] for code in _ODD if chr(code) not in _KEPT}


def fold(text: str, width: int = WIDTH, *, start: str = "", indent: str = "  ") -> str:
    """Fold a paragraph; its first line begins with `start`, the others with `indent`."""
    return textwrap.fill(
        text,
        width,
        initial_indent=start,
        subsequent_indent=indent,
        break_on_hyphens=False,
        break_long_words=False,
    )


def format_paragraphs(lines: Iterable[str]) -> str:
    """Format each line as a paragraph."""
    return "".join(f"{fold(line)}\n" for line in lines)


def format_remarks(lines: Iterable[str]) -> str:
    """Format the remarks below a table, each with a dash."""
    return format_paragraphs(f"– {line}" for line in lines)


def parse_whole_number(text: str, highest: int) -> int | None:
    """Parse a number of decimal digits only; None for other text, or above `highest`.

    Python's own `int` also takes signs, blanks and underscores, and refuses more than 4,300 digits.
    """
    if not text.isdecimal() or len(text.lstrip("0")) > len(str(highest)):
        return None
    number = int(text.lstrip("0") or "0")
    return number if number <= highest else None


def escape_controls(text: str) -> str:
    r"""Write out control characters and lone surrogates of a text, as in `\x1b[31m`."""
    if text.isascii() and text.isprintable():  # most are, and long tables ask often
        return text
    return text.encode("utf-8", "backslashreplace").decode("utf-8").translate(_ESCAPES)


def escape_all(value: Any) -> Any:
    """Return a JSON value with `escape_controls` done to every text in it, keys included."""
    if isinstance(value, str):
        return escape_controls(value)
    if isinstance(value, dict):
        return {escape_all(key): escape_all(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [escape_all(each) for each in value]
    return value
