"""The benchmark of serving: a run of seconds, with all of its tables."""

from __future__ import annotations

from collections.abc import Callable


def test_it_serves_and_simulates(printed: Callable[..., str]) -> None:
    """A static model and one with exits, at one rate and two batch sizes."""
    said = printed(
        "serving", "--images", "12", "--seconds", "1.5", "--rounds", "1", "--rates", "20",
        *("--batches", "1", "4"),
    )  # fmt: skip
    assert "images/s" in said
    assert "simulated from exit costs" in said
    parts = said[said.index("queue alone") :].splitlines()
    assert [line.split()[:3] for line in parts[2:4]] == [
        ["digits-gfnet", "–", "20"],
        ["digits-dynn", "0.5", "20"],
    ]
    assert "error of the simulation without pauses, median of 2 cells: p50 " in said
    assert "error of the simulation, median of 2 cells: p50 " in said
    assert "p99 unknown" in said  # too few requests
