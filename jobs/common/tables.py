"""Tables of text, readable at 80 columns: aligned for people, Markdown for papers."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import zip_longest
from typing import TypeVar

from jobs.common.text import escape_controls, fold

PIPE_WIDTH = 10_000
"""A pipe has no width: nothing is cut or wrapped there."""

DRAWN_ROWS = 40
"""Rows of a long table in a terminal; more would scroll the first ones away."""

T = TypeVar("T")

SIGNIFICANT = 6
INVALID = "INVALID"
"""Shown in place of a number that is not valid."""

_Cells = list[list[str]]
"""Texts by row and column; the first row is the column names."""

# Between the parts of a name, after the sign: not in a number or a date.
_PART = re.compile(r"(?<=[^\W\d_][-_/.])(?=\w)|(?<=\d[-_/.])(?=[^\W\d])")
_FORMATTED = re.compile(rf"–|{INVALID}|[-+±]?[0-9][0-9.,]*( ?[%kM]| x [0-9]+)?")

_INSIDE_NUMBER = re.compile(
    r"(?<=[0-9]) (?=%)|(?<=[0-9]) (?=to [-+<>]*[0-9])|(?<=[0-9] to) (?=[-+<>]*[0-9])"
)
"""Spaces in a percentage or an interval in text: `-12.3 to >+1,000`."""
_FIGURE = re.compile(r"[-+±<>.,…%0-9\[\]\xa0]+(to\xa0[-+<>.,0-9]+)?")
"""A word that is a number or an interval."""


def format_value(value: object) -> str:
    """Format a value for a table; NULL as a dash."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.{SIGNIFICANT}g}"
    if isinstance(value, datetime):
        return value.isoformat(sep=" ", timespec="seconds")
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(format_value(item) for item in value)}]"
    return escape_controls(str(value))


def text_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[object]],
    title: str | None = None,
    pipe_width: int = PIPE_WIDTH,
) -> str:
    """Format an aligned table: numbers to the right, long text wrapped at the terminal's width.

    In a pipe, where names are searched for, text is wrapped at `pipe_width`.
    """
    is_number = [_is_numeric([row[index] for row in rows]) for index in range(len(columns))]
    texts = ([*map(escape_controls, columns)], *([*map(format_value, row)] for row in rows))
    cells = [[cell.expandtabs() for cell in row] for row in texts]
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else pipe_width
    if sum(widths := _column_widths(cells)) + 2 * len(widths) > width:
        cells = _wrapped(cells, is_number, width)
    table = _drawn(cells, is_number)
    return f"{_fold_title(title, width)}\n\n{table}" if title else table


def long_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[object]],
    what: str,
    title: str | None = None,
    *,
    is_all: bool = False,
) -> str:
    """Format a table as `text_table` does, of the rows that `take_first` returns."""
    drawn, more = take_first(rows, what, is_all=is_all)
    return text_table(columns, drawn, title) + (f" {more}\n" if more else "")


def fitting_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[object]],
    what: str,
    title: str | None = None,
    *,
    droppable: Sequence[str],
    is_all: bool = False,
) -> str:
    """Format a table as `long_table` does; a terminal does not get columns that do not fit.

    Args:
        columns: the names.
        rows: the values.
        what: the name of the rows, in the plural.
        title: of the table.
        droppable: names of columns that may be left out, the least important first. Those that
            have no value in any row are left out before any other.
        is_all: whether a terminal gets all rows.
    """
    from rich.cells import cell_len

    if not (sys.stdout.isatty() and rows):
        return long_table(columns, rows, what, title)
    width = shutil.get_terminal_size().columns
    widest = {
        name: max(
            *(cell_len(line) for line in name.split("\n")),
            *(cell_len(format_value(row[place])) for row in rows),
        )
        for place, name in enumerate(columns)
    }
    empty = [
        name for place, name in enumerate(columns) if all(row[place] in (None, "–") for row in rows)
    ]
    left_out: list[str] = []
    for name in sorted(droppable, key=lambda name: name not in empty):
        shown = [wide for other, wide in widest.items() if other not in left_out]
        if sum(shown) + 2 * len(shown) <= width:
            break
        left_out.append(name)
    places = [place for place, name in enumerate(columns) if name not in left_out]
    table = long_table(
        [columns[place] for place in places],
        [[row[place] for place in places] for row in rows],
        what,
        title,
        is_all=is_all,
    )
    names = ", ".join(name.replace("\n", " ") for name in left_out)
    return table + (f" left out for the width: {names}\n" if left_out else "")


def take_first(
    items: Sequence[T], what: str, *, is_all: bool = False, most: int = DRAWN_ROWS
) -> tuple[Sequence[T], str]:
    """Return the first items in a terminal, and all in a pipe.

    Args:
        items: what there is to show.
        what: the name of the items, in the plural.
        is_all: whether a terminal gets all, too.
        most: how many it gets otherwise.

    Returns: the items, and a line that says how many more there are; empty if there are no more.
    """
    more = len(items) - most
    if is_all or more <= 0 or not sys.stdout.isatty():
        return items, ""
    return items[:most], f"… and {more:,} more {what} (--all shows them)"


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Format a Markdown table."""
    lines = [
        [*map(escape_controls, columns)],
        ["---"] * len(columns),
        *[[format_value(v) for v in row] for row in rows],
    ]
    escaped = [[cell.replace("|", "\\|").replace("\n", " ") for cell in line] for line in lines]
    return "".join(f"| {' | '.join(line)} |\n" for line in escaped)


def _fold_title(title: str, width: int) -> str:
    from rich.cells import cell_len

    lines = escape_controls(title).split("\n")
    return "\n".join(line if cell_len(line) <= width else fold(line, width) for line in lines)


def _is_numeric(values: Sequence[object]) -> bool:
    """Whether a column is aligned to the right: it has numbers, and otherwise only NULL."""
    known = [value for value in values if value is not None]
    return bool(known) and all(map(_is_number, known))


def _is_number(value: object) -> bool:
    """Whether a value is a number, also a formatted one, or stands in place of a number."""
    if isinstance(value, str):
        return bool(_FORMATTED.fullmatch(value))
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _column_widths(cells: _Cells) -> list[int]:
    from rich.cells import cell_len  # a character may be two columns wide, or none

    # In a long table most columns repeat few texts.
    columns = (set(column) for column in zip(*cells, strict=True))
    widths = [
        max(cell_len(line) for cell in texts for line in cell.split("\n")) for texts in columns
    ]
    widths[-1] = max(widths[-1], 1)
    return widths


def _drawn(cells: _Cells, is_number: Sequence[bool]) -> str:
    """Draw a table as wide as its cells; a cell may have several lines."""
    from rich.cells import cell_len

    widths = _column_widths(cells)

    def line(texts: Sequence[str]) -> str:
        parts = zip(texts, widths, is_number, strict=True)
        padded = ((text, " " * (wide - cell_len(text)), right) for text, wide, right in parts)
        return " " + "  ".join(pad + text if right else text + pad for text, pad, right in padded)

    def lines() -> Iterator[str]:
        names, *rows = cells
        # Column names are aligned to the rule below them.
        upwards = zip_longest(*(name.split("\n")[::-1] for name in names), fillvalue="")
        yield from [line(texts) for texts in upwards][::-1]
        yield " " + "─" * (sum(widths) + 2 * (len(widths) - 1))
        for row in rows:
            if any("\n" in text for text in row):
                yield from map(line, zip_longest(*(text.split("\n") for text in row), fillvalue=""))
            else:
                yield line(row)

    return "\n".join(text.rstrip() for text in lines()).strip("\n") + "\n"


def _wrapped(cells: _Cells, is_number: Sequence[bool], width: int) -> _Cells:
    """Wrap the text of a table that is wider than `width`; numbers and intervals are never broken.

    The widest column gives way first: to its longest word; if that is not enough, to the longest
    part of a name; and only then anywhere.
    """
    from rich.cells import cell_len

    cells = [[_INSIDE_NUMBER.sub("\xa0", cell) for cell in row] for row in cells]
    widths = [min(wide, width) for wide in _column_widths(cells)]
    columns = [
        " ".join(column).replace("\n", " ").split(" ") for column in zip(*cells, strict=True)
    ]
    for units in (lambda word: [word], _PART.split, _split_anywhere):
        least = [
            widths[index]
            if is_number[index]
            else max((cell_len(unit) for word in words for unit in units(word)), default=1)
            for index, words in enumerate(columns)
        ]
        while sum(widths) + 2 * len(widths) > width:
            index = max(range(len(widths)), key=lambda i: (widths[i] > least[i], widths[i]))
            if widths[index] <= least[index]:
                break
            widths[index] -= 1
    return [[_wrap(cell, wide) for cell, wide in zip(row, widths, strict=True)] for row in cells]


def _split_anywhere(word: str) -> Sequence[str]:
    """Split a word into characters; a number stays whole, or it would read as another one."""
    return [word] if _FIGURE.fullmatch(word) else word


def _wrap(text: str, width: int) -> str:
    """Wrap a text between words, else between the parts of a word, else anywhere."""
    from rich.cells import cell_len, chop_cells

    def lines(line: str) -> Iterator[str]:
        begun = ""
        for word in line.split(" "):
            if cell_len(longer := f"{begun} {word}" if begun else word) <= width:
                begun = longer
                continue
            if begun:
                yield begun
                begun = ""
            for part in [word] if cell_len(word) <= width else _PART.split(word):
                if cell_len(begun + part) > width and begun:
                    yield begun
                    begun = ""
                *whole, begun = chop_cells(begun + part, width) or [""]
                yield from whole
        yield begun

    wrapped = "\n".join(
        part
        for line in text.split("\n")
        for part in ([line] if cell_len(line) <= width else lines(line))
    )
    return wrapped.replace("\xa0", " ")
