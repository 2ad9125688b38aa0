"""Text around tables."""

from __future__ import annotations

from jobs.common.text import fold, format_remarks, parse_whole_number


def test_lines_break_between_words_and_never_in_a_path() -> None:
    """A path is copied: also one that is wider than the line, and one with hyphens."""
    path = "/data/" + "a-long-name/" * 8
    assert fold(f"see {path} for more") == f"see\n  {path}\n  for more"


def test_each_remark_has_a_dash() -> None:
    """What goes on is indented."""
    first, second, third = format_remarks(["word " * 20, "next"]).splitlines()
    assert (first[:6], second[:6], third) == ("– word", "  word", "– next")
    assert len(first) <= 80


def test_a_whole_number_has_digits_alone_and_a_limit() -> None:
    """Python's `int` takes "1_0" and " 1", and raises at 4,301 digits."""
    read = {
        text: parse_whole_number(text, 65535)
        for text in ("0", "007", "65535", "\u0663", "0" * 9000)
    }
    assert list(read.values()) == [0, 7, 65535, 3, 0]
    for text in ("", "65536", "9" * 5000, "-1", "+1", " 1", "1_0", "1.0", "²", "x"):
        assert parse_whole_number(text, 65535) is None, text
