"""The benchmark of a site of a year: whole, at a size for tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path


def test_each_line_of_its_table(printed: Callable[..., str], tmp_path: Path) -> None:
    """Of runs that stay where they are kept; no page is too large."""
    text = printed("pages", "--size", "quick", "--repeats", "1", "--keep", str(tmp_path))
    assert "3 runs of 4 cells" in text
    for line in ("made anew", "nothing changed", "one run more", "everything of the newest"):
        assert any(row.startswith(line) for row in text.splitlines()), line
    assert len(list(tmp_path.glob("results/runs/*"))) == 4
    assert all(page.stat().st_size < 2_000_000 for page in tmp_path.glob("site/**/*.html"))
