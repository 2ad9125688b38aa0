"""The table of a query: a terminal gets the columns that fit, and the names of the others.

Most worth its width is what the query names, then what tells the rows apart. A pipe gets all.
"""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Collection, Sequence
from itertools import chain, repeat

from jobs.common.tables import format_value, text_table
from jobs.common.text import escape_controls, fold

KEYS = (
    *("run_id", "training_id", "model", "dataset", "threshold", "thresholds"),
    *("device", "node", "runtime", "precision", "threads", "batch_size"),
    *("round", "image_id", "exit_block", "epoch"),
)
"""Columns that tell rows apart, in words that a reader knows."""

_TEXT_WIDTH = 24
"""Columns that a text of several words gets at least; it is wrapped within them."""

_MOST_NAMED = 20
"""Characters of a value that is named below the table because all rows have it."""


def result_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[object]],
    query: str = "",
    *,
    is_all: bool = False,
    how_all: str = "--all",
) -> str:
    """Format the rows of a query.

    Args:
        columns: the names.
        rows: the values.
        query: the statement; columns that it names are shown first.
        is_all: a terminal gets all columns: if they do not fit, one line per value.
        how_all: what the user gives to get all columns.
    """
    width = shutil.get_terminal_size().columns
    if not sys.stdout.isatty():
        return text_table(columns, rows)
    if not rows and sum(len(name) + 2 for name in columns) > width:
        return fold(f"no rows; the columns are {', '.join(columns)}", width) + "\n"
    texts = [[format_value(value) for value in column] for column in zip(*rows, strict=True)]
    if not rows or _needed(columns, texts, range(len(columns)), is_whole=True) <= width:
        return text_table(columns, rows)
    if is_all:
        return _records(columns, texts, width)
    shown = _choose(columns, texts, set(re.findall(r"\w+", query.lower())), width)
    table = text_table(
        [columns[place] for place in shown], [[row[place] for place in shown] for row in rows]
    )
    left_out = [place for place in range(len(columns)) if place not in shown]
    return table + _remarks(columns, texts, left_out, width, how_all)


def _needed(
    columns: Sequence[str],
    texts: Sequence[Sequence[str]],
    places: Collection[int],
    *,
    is_whole: bool = False,
) -> int:
    """Return the width that some columns need, with their texts whole or wrapped."""
    from rich.cells import cell_len

    def width(place: int) -> int:
        lines = [line for text in texts[place] for line in text.split("\n")]
        widest = max(map(cell_len, lines))
        if not is_whole and widest > _TEXT_WIDTH:
            words = max(cell_len(word) for line in lines for word in line.split(" "))
            widest = min(widest, max(_TEXT_WIDTH, words))
        return max(widest, cell_len(escape_controls(columns[place]))) + 2

    return sum(map(width, places))


def _choose(
    columns: Sequence[str], texts: Sequence[Sequence[str]], named: set[str], width: int
) -> list[int]:
    """Choose the columns to show, in their own order; at least one."""

    def rank(place: int) -> tuple[int, int]:
        name, values = columns[place], texts[place]
        is_varied = len(values) == 1 or len(set(values)) > 1
        if set(values) == {"–"} or any("\n" in text for text in values):
            group = 5
        elif name.lower() in named:
            group = 0
        elif name in KEYS:
            group = 1 if is_varied else 3
        else:
            is_wide = _needed(columns, texts, [place]) > _TEXT_WIDTH + 2  # a digest, a path
            group = 2 if is_varied and not is_wide else 4
        return group, place

    chosen: list[int] = []
    for place in sorted(range(len(columns)), key=rank):
        if not chosen or _needed(columns, texts, [*chosen, place]) <= width:
            chosen.append(place)
    return sorted(chosen)


def _remarks(
    columns: Sequence[str],
    texts: Sequence[Sequence[str]],
    left_out: Sequence[int],
    width: int,
    how_all: str,
) -> str:
    """Say which columns are left out, and what is in those that are the same in all rows."""
    same = [place for place in left_out if _is_told_once(columns[place], texts[place])]
    others = [columns[place] for place in left_out if place not in same]
    lines = []
    if same:
        told = ", ".join(f"{columns[place]} {texts[place][0]}" for place in same)
        lines.append(f"the same in all rows: {told}")
    if others:
        lines.append(f"left out for the width: {', '.join(others)} ({how_all} shows them)")
    return "".join(f"{fold(line, width, start=' ', indent='   ')}\n" for line in lines)


def _is_told_once(column: str, texts: Sequence[str]) -> bool:
    """Whether a column tells rows apart elsewhere, and here has one short value for all."""
    value = texts[0]
    is_same = len(texts) > 1 and len(set(texts)) == 1 and value != "–"
    return column in KEYS and is_same and len(value) <= _MOST_NAMED


def _records(columns: Sequence[str], texts: Sequence[Sequence[str]], width: int) -> str:
    """Format rows as blocks, with one line per value; long texts are wrapped."""
    longest = max(map(len, columns))

    def value(name: str, text: str) -> str:
        starts = chain([f"{name:{longest}}  "], repeat(" " * (longest + 2)))
        return "".join(map(_hung, starts, text.split("\n"), repeat(width)))

    rows = zip(*texts, strict=True)
    return "\n".join("".join(map(value, columns, row)) for row in rows)


def _hung(start: str, text: str, width: int) -> str:
    """Format a line of a value; if it is too long, it goes on below its own beginning."""
    from rich.cells import cell_len

    if cell_len(line := f"{start}{text}") <= width:
        return f"{line.rstrip()}\n"
    return fold(text, width, start=start, indent=" " * len(start)) + "\n"
