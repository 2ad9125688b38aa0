"""A submitted grid is answered at once, long before torch and Ray are loaded."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

QUICKSTART = Path(__file__).parents[2] / "examples" / "quickstart.yaml"
PATIENCE_S = 5.0
"""Python and our command line take a quarter of a second, on a busy machine one."""


def test_the_first_message_of_submit_comes_at_once(tmp_path: Path) -> None:
    """In a process of its own; the next one comes when torch is loaded and the grid is planned."""
    code = "from jobs.cli import main; main()"
    command = [sys.executable, "-c", code, "submit", str(QUICKSTART), "--inline"]
    began_s = time.monotonic()
    with subprocess.Popen(
        [*command, "--results", str(tmp_path / "results")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr
        try:
            first, first_s = process.stderr.readline(), time.monotonic() - began_s
            second, second_s = process.stderr.readline(), time.monotonic() - began_s
        finally:
            process.kill()
    assert first == f"reading {QUICKSTART}\n"
    assert second.startswith("running quickstart-")
    assert first_s < min(PATIENCE_S, second_s / 2)
