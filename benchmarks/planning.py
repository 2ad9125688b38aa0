"""`gfjobs plan` of many cells: seconds of the whole process, started as a user starts it.

One model with exits, thresholds written out, and numbers of threads: each threshold is a cell for
each number, and so is the all-exit pass. `again` is a second process, which finds in the cache what
the first one kept; `in a terminal` draws the first cells alone.

    python benchmarks/planning.py [--cells 10010 100100]
"""

from __future__ import annotations

import argparse
import contextlib
import os
import pty
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

AIM_S = 2.0
AIMED_CELLS = 10_010
THRESHOLDS = 1000
"""Of a grid: its file may have 64 KiB."""

START = "import sys; from jobs.cli import main; sys.argv[0] = 'gfjobs'; main()"


def grid_of(cells: int) -> str:
    """A grid that folds into so many cells, a multiple of 1,001."""
    thresholds = ", ".join(f"{number / THRESHOLDS:.3f}" for number in range(THRESHOLDS))
    threads = ", ".join(str(number + 1) for number in range(cells // (THRESHOLDS + 1)))
    return (
        "name: many\nmodels: [digits-dynn]\ndatasets: [digits]\n"
        f"threads: [{threads}]\nthresholds: [{thresholds}]\n"
    )


def planned_s(grid: Path, *, is_terminal: bool = False) -> tuple[float, int]:
    """Seconds of one process, and the lines that it gave."""
    command = [sys.executable, "-c", START, "plan", str(grid), "--results", str(grid.parent / "r")]
    began_s = time.perf_counter()
    if not is_terminal:
        given = subprocess.run(command, check=True, capture_output=True).stdout
        return time.perf_counter() - began_s, given.count(b"\n")
    ours, theirs = pty.openpty()
    read: list[bytes] = []

    def drain() -> None:
        with contextlib.suppress(OSError):  # the other end is closed
            while True:
                read.append(os.read(ours, 65_536))

    reader = threading.Thread(target=drain)
    reader.start()
    subprocess.run(command, check=True, stdout=theirs)
    os.close(theirs)
    reader.join()
    os.close(ours)
    return time.perf_counter() - began_s, b"".join(read).count(b"\n")


def main() -> None:
    """Print the table; exit code 1 where the aim is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, nargs="+", default=[10_010, 100_100])
    options = parser.parse_args()
    print("    cells  first, s  again, s    lines  in a terminal, s  lines")
    is_missed = False
    with tempfile.TemporaryDirectory() as folder:
        os.environ["GFJOBS_CACHE"] = f"{folder}/cache"
        # Modules are compiled once, as they are where gfjobs is installed.
        os.environ["PYTHONPYCACHEPREFIX"] = f"{folder}/compiled"
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        for cells in options.cells:
            grid = Path(folder) / f"{cells}.yaml"
            grid.write_text(grid_of(cells))
            first_s, lines = planned_s(grid)
            again_s, _ = planned_s(grid)
            drawn_s, drawn = planned_s(grid, is_terminal=True)
            print(
                f"{cells:9,}{first_s:10.2f}{again_s:10.2f}{lines:9,}{drawn_s:18.2f}{drawn:7,}",
                flush=True,
            )
            is_missed |= cells <= AIMED_CELLS and again_s > AIM_S
    print(f"aim: {AIMED_CELLS:,} cells in {AIM_S:g} s")
    if is_missed:
        sys.exit(1)


if __name__ == "__main__":
    main()
