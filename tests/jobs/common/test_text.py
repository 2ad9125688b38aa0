"""Text around tables."""

from __future__ import annotations

from jobs.common.text import folded, remarks


def test_lines_break_between_words_and_never_in_a_path() -> None:
    """A path is copied: also one that is wider than the line, and one with hyphens."""
    path = "/data/" + "a-long-name/" * 8
    assert folded(f"see {path} for more") == f"see\n  {path}\n  for more"


def test_each_remark_has_a_dash() -> None:
    """What goes on is indented."""
    first, second, third = remarks(["word " * 20, "next"]).splitlines()
    assert (first[:6], second[:6], third) == ("– word", "  word", "– next")
    assert len(first) <= 80
