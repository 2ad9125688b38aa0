"""Tables of text, to the letter."""

from __future__ import annotations

from datetime import datetime

from jobs.tables import markdown_table, shown, text_table


def test_values_as_shown() -> None:
    """NULL is a dash; numbers have six digits; lists are lists."""
    assert shown(None) == "–"
    assert shown(value=True) == "yes"
    assert shown(0.1234567) == "0.123457"
    assert shown(float("nan")) == "nan"
    assert shown([1, None, 2.5]) == "[1, –, 2.5]"
    assert shown(datetime(2026, 11, 24, 5, 6, 7, 8)) == "2026-11-24 05:06:07"  # noqa: DTZ001
    assert shown("a [b] c") == "a [b] c"


def test_text_table() -> None:
    """Numbers to the right, text to the left, no markup read, no trailing spaces."""
    text = text_table(["name", "n"], [["[bold]a", 1], ["b", None], ["c", 100]], "title")
    assert text == (
        "title\n\n name       n\n ────────────\n [bold]a    1\n b          –\n c        100\n"
    )


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
