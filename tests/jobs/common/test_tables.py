"""Tables of text, to the letter."""

from __future__ import annotations

import random
import sys
from datetime import datetime

import pytest
from rich import box
from rich.console import Console
from rich.table import Table

from jobs.common import tables
from jobs.common.tables import (
    DRAWN_ROWS,
    fitting_table,
    format_value,
    long_table,
    markdown_table,
    take_first,
    text_table,
)


def test_values_as_shown() -> None:
    """NULL is a dash; numbers have six digits; lists are lists."""
    assert format_value(None) == "–"
    assert format_value(value=True) == "yes"
    assert format_value(0.1234567) == "0.123457"
    assert format_value(float("nan")) == "nan"
    assert format_value([1, None, 2.5]) == "[1, –, 2.5]"
    assert format_value(datetime(2026, 11, 24, 5, 6, 7, 8)) == "2026-11-24 05:06:07"  # noqa: DTZ001
    assert format_value("a [b] c") == "a [b] c"


def test_text_table() -> None:
    """Numbers to the right, text to the left, no markup read, no trailing spaces."""
    text = text_table(["name", "n"], [["[bold]a", 1], ["b", None], ["c", 100]], "title")
    assert text == (
        "title\n\n name       n\n ────────────\n [bold]a    1\n b          –\n c        100\n"
    )


def test_a_title_of_long_names_fits_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is folded between words, each of its lines by itself; in a pipe it stays as it is."""
    title = f"{'m' * 50} at 0.5 on a data set of a long name: exits\na second line"
    assert text_table(["n"], [[1]], title).startswith(f"{title}\n\n")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    lines = text_table(["n"], [[1]], title).splitlines()
    assert lines[:4] == [
        f"{'m' * 50} at 0.5 on a data set of a",
        "  long name: exits",
        "a second line",
        "",
    ]


def test_what_stands_for_a_number_stands_as_one() -> None:
    """A margin, a mark and a dash are to the right; other text takes the column to the left."""
    numbers = text_table(["95 %"], [["±0.004"], ["INVALID"], ["–"]])
    assert [len(line) for line in numbers.splitlines()[2:]] == [8, 8, 8]
    words = text_table(["95 %"], [["±0.004"], ["invalid"], ["–"]])
    assert [len(line) for line in words.splitlines()[2:]] == [7, 8, 2]


def test_nothing_is_cut_in_a_pipe() -> None:
    """A long value keeps its line whole."""
    long = "x" * 300
    assert long in text_table(["a", "b"], [[long, 1]])


def test_empty_tables_have_their_header() -> None:
    """No rows are still a table."""
    assert text_table(["a", "b"], []).splitlines()[0].split() == ["a", "b"]
    assert markdown_table(["a"], []) == "| a |\n| --- |\n"


def test_markdown_escapes_its_own_signs() -> None:
    """A bar or a line break in a value does not break the table."""
    expected = "| a |\n| --- |\n| x\\|y z |\n| – |\n"
    assert markdown_table(["a"], [["x|y\nz"], [None]]) == expected


def test_what_fits_is_drawn_as_rich_draws_it() -> None:
    """Wide characters, several lines, empty columns and rows: to the letter."""
    draw = random.Random(0)  # noqa: S311 - no secret
    for _ in range(300):
        count = draw.randint(1, 4)
        is_number = [draw.random() < 0.4 for _ in range(count)]
        cells = [
            [
                "\n".join(draw.choices(("", "a b", "–", "日本", "[1]", "é"), k=draw.randint(1, 2)))
                for _ in range(count)
            ]
            for _ in range(draw.randint(1, 5))
        ]
        assert tables._drawn(cells, is_number) == _drawn_by_rich(cells, is_number)


def _drawn_by_rich(cells: list[list[str]], is_number: list[bool]) -> str:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for name, is_right in zip(cells[0], is_number, strict=True):
        table.add_column(name, justify="right" if is_right else "left", no_wrap=is_right)
    for row in cells[1:]:
        table.add_row(*row)
    console = Console(width=999, markup=False, highlight=False, emoji=False, color_system=None)
    with console.capture() as capture:
        console.print(table)
    lines = [line.rstrip() for line in capture.get().splitlines()]
    return "\n".join(lines).strip("\n") + "\n"


NAMES = [
    ("gfnet-xs-distil", "of three words", 1234.5678),
    ("models/my_checkpoint.best-2026-11-29", "0.5…0.9", 7),
]


@pytest.mark.parametrize(
    ("width", "lines"),
    [
        (
            58,
            [
                "model                                 note       images",
                "gfnet-xs-distil                       of three  1234.57",
                "                                      words",
                "models/my_checkpoint.best-2026-11-29  0.5…0.9         7",
            ],
        ),
        (
            40,
            [
                "model             note      images",
                "gfnet-xs-distil   of       1234.57",
                "                  three",
                "                  words",
                "models/my_        0.5…0.9        7",
                "checkpoint.best-",
                "2026-11-29",
            ],
        ),
        (
            26,
            [
                "model   note      images",
                "gfnet-  of       1234.57",
                "xs-     three",
                "distil  words",
                "models  0.5…0.9        7",
                "/my_",
                "checkp",
                "oint.",
                "best-",
                "2026-1",
                "1-29",
            ],
        ),
    ],
)
def test_a_name_is_broken_between_its_parts(
    width: int, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Text is broken between words first, then names at their signs; numbers never are."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(width))
    drawn = text_table(["model", "note", "images"], NAMES).splitlines()
    assert [line[1:] for line in (drawn[0], *drawn[2:])] == lines
    assert max(map(len, drawn)) < width


@pytest.mark.parametrize("width", [30, 50])
def test_numbers_and_intervals_in_text_are_never_broken(
    width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a number reads as another one: names give way instead, letter by letter."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(width))
    rows = [("digits-gfnet", "-97.1 to >+1,000\n-0 +0 images", "-3.7…+3.7", "100.00 %")]
    rows.append(("digits-distil", "0 of 100 moved", "[0.5, 0.6]", "at most"))
    drawn = text_table(["model", "95 %", "other", "all"], rows)
    for whole in ("-97.1 to >+1,000", "-3.7…+3.7", "100.00 %", "0.5", "95 %"):
        assert whole in drawn


@pytest.mark.parametrize("width", [3, 9, 30, 60])
def test_wrapping_loses_nothing(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wide characters, spaces, tabs and lines: all the text is there, in its column."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(width))
    value = "日本語の名前_と-もの  a/b.c\tx\nnext  line_ " + "y" * 40
    drawn = text_table(["a"], [[value]])
    assert "".join(drawn.split()[2:]) == "".join(value.split())


def test_a_long_table_in_a_pipe_never_waits_for_rich(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten thousand rows that fit are drawn by the way that is a hundred times as fast."""
    monkeypatch.delattr(tables, "_wrap")
    rows = [(f"model-{number}", number / 7) for number in range(10_000)]
    text = long_table(["model", "t"], rows, "cells")
    assert len(text.splitlines()) == 10_002
    assert text.splitlines()[-1] == " model-9999   1428.43"


def test_a_narrow_terminal_gets_the_columns_that_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those without a value go first, then the least important; a pipe gets all."""
    columns = ("name", "wide", "empty", "two\nlines", "kept")
    rows = [("a" * 40, "b" * 20, None, "c" * 10, 1), ("a", "b", "–", "c", 2)]
    droppable = ("wide", "two\nlines", "empty")

    everything = fitting_table(columns, rows, "rows", droppable=droppable)
    assert everything == text_table(columns, rows)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    for width, left_out in (
        ("100", []),
        ("82", ["empty"]),
        ("79", ["empty", "wide"]),
        ("59", ["empty", "wide", "two lines"]),
    ):
        monkeypatch.setenv("COLUMNS", width)
        table = fitting_table(columns, rows, "rows", droppable=droppable)
        assert max(map(len, table.splitlines())) <= int(width)
        last = table.splitlines()[-1]
        said = f" left out for the width: {', '.join(left_out)}"
        assert (last == said) == bool(left_out)


def test_a_terminal_gets_the_first_rows_and_is_told_of_the_rest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A pipe, `--all` and a short table have every row, and no such line."""
    rows = [(number,) for number in range(DRAWN_ROWS + 1234)]
    in_pipe = long_table(["n"], rows, "cells")
    assert len(in_pipe.splitlines()) == 2 + len(rows)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    shown_rows = long_table(["n"], rows, "cells").splitlines()
    assert shown_rows[-2:] == [" 39", " … and 1,234 more cells (--all shows them)"]
    assert len(shown_rows) == 2 + DRAWN_ROWS + 1
    assert long_table(["n"], rows, "cells", is_all=True) == in_pipe
    assert "more" not in long_table(["n"], rows[:DRAWN_ROWS], "cells")
    assert take_first(rows, "cells", most=len(rows) - 1)[1].startswith("… and 1 more cells")
