"""Tables of text, readable at 80 columns: aligned for people, Markdown for papers."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Sequence
from datetime import datetime

from rich import box
from rich.console import Console
from rich.table import Table

from jobs.printable import printable

PIPE_WIDTH = 10_000
"""A pipe has no edge: nothing is cut or wrapped there."""

SIGNIFICANT = 6
INVALID = "INVALID"
"""What stands in place of a number that is not to be believed."""

_FORMATTED = re.compile(rf"–|{INVALID}|[-±]?[0-9][0-9.,]*( ?[%kM]| x [0-9]+)?")


def shown(value: object) -> str:
    """A value as tables show it; NULL as a dash."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.{SIGNIFICANT}g}"
    if isinstance(value, datetime):
        return value.isoformat(sep=" ", timespec="seconds")
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(shown(item) for item in value)}]"
    return printable(str(value))


def text_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[object]],
    title: str | None = None,
    pipe_width: int = PIPE_WIDTH,
) -> str:
    """An aligned table: numbers to the right, long text wrapped where a terminal ends.

    In a pipe, where names are searched for, it is wrapped at `pipe_width`.
    """
    table = Table(
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    for index, name in enumerate(columns):
        values = [row[index] for row in rows if row[index] is not None]
        is_number = bool(values) and all(_is_number(value) for value in values)
        table.add_column(
            printable(name),
            justify="right" if is_number else "left",
            overflow="fold",
            no_wrap=is_number,
        )
    for row in rows:
        table.add_row(*(shown(value) for value in row))
    heading = f"{printable(title)}\n\n" if title else ""  # rich would fold it to the table's width
    return f"{heading}{_rendered(table, pipe_width)}"


def result_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table; where it is wider than the terminal, one line a value instead."""
    width = shutil.get_terminal_size().columns
    if not sys.stdout.isatty() or not rows:
        return text_table(columns, rows)
    widest = [max(len(shown(value)) for value in column) for column in zip(*rows, strict=True)]
    needed = sum(max(len(name), wide) + 2 for name, wide in zip(columns, widest, strict=True))
    if needed <= width:
        return text_table(columns, rows)
    longest = max(map(len, columns))
    blocks = [
        "".join(f"{name:{longest}}  {shown(v)}\n" for name, v in zip(columns, row, strict=True))
        for row in rows
    ]
    return "\n".join(blocks)


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """The same as a Markdown table."""
    lines = [
        [*map(printable, columns)],
        ["---"] * len(columns),
        *[[shown(v) for v in row] for row in rows],
    ]
    escaped = [[cell.replace("|", "\\|").replace("\n", " ") for cell in line] for line in lines]
    return "".join(f"| {' | '.join(line)} |\n" for line in escaped)


def _is_number(value: object) -> bool:
    """Whether it stands to the right: a number, also formatted, or what stands for one."""
    if isinstance(value, str):
        return bool(_FORMATTED.fullmatch(value))
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _rendered(table: Table, pipe_width: int) -> str:
    width = None if sys.stdout.isatty() else pipe_width
    console = Console(width=width, markup=False, highlight=False, emoji=False, color_system=None)
    with console.capture() as capture:
        console.print(table)
    lines = [line.rstrip() for line in capture.get().splitlines()]
    return "\n".join(lines).strip("\n") + "\n"
