"""The benchmark of a year: whole, at a size for tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path


def test_both_are_asked_the_same_and_agree(printed: Callable[..., str], tmp_path: Path) -> None:
    """Every line of its tables, of runs that stay where they are kept."""
    options = ("--size", "quick", "--repeats", "1", "--keep", str(tmp_path))
    text = printed("history", *options)
    assert "12,600 records in 3 runs of 6 cells" in text
    for line in (
        "ladder of one run",
        "trend of one model",
        "percentiles by model over all",
        "runs",
    ):
        assert any(row.startswith(line) for row in text.splitlines()), line
    written = text.rpartition("merged too")[2].splitlines()
    assert [row.split()[0] for row in written[1:]] == ["1", "8", "64"]
    made = [path.stat().st_mtime_ns for path in tmp_path.glob("results/runs/*/run.parquet")]
    printed("history", *options)
    again = [path.stat().st_mtime_ns for path in tmp_path.glob("results/runs/*/run.parquet")]
    assert sorted(again) == sorted(made)
