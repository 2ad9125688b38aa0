"""benchmarks/detector.py at small size: it runs, and what it simulates is what it says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[3]


def test_the_table_of_two_series() -> None:
    """A line for each rule; a control that shares all finds both slowdowns, accuracy is exact."""
    done = subprocess.run(
        [sys.executable, "benchmarks/detector.py", "--series", "2", "--nights", "44"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    lines = {line[:31].strip(): line[31:].split() for line in done.stdout.splitlines()}
    assert "seeds 0 to 1" in done.stdout
    assert lines["ours, control shares all"][2] == "100.0%"
    assert {"ours, no control", "fixed 7 %, all rounds", "asv-style, unthrottled"} <= set(lines)
    assert lines["accuracy -0.5, 10,000 images"] == ["0.00", "100.0%"]
