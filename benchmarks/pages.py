"""A site of a year of nights: made anew, again without a change, and after one night more.

Makes runs with synthetic rows through the real store, as `benchmarks/history.py` does, and times
`build_site` in a process of its own, with its imports, as a schedule would start it. Each page must
be under 2 MB.

    python benchmarks/pages.py [--size quick|year] [--keep FOLDER] [--repeats 3]

quick is for tests; year, the default, is 365 runs of 200 cells. A run that is finished is not made
again, so a folder given with --keep can be gone on with.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import storage

sys.path.insert(0, str(Path(__file__).parent))  # a script's own folder, however it is loaded
from history import CORES, Size, make_run

SIZES = {
    "quick": Size(runs=3, models=2, thresholds=2, images=20),
    "year": Size(runs=365, models=10, thresholds=20, images=100),
}
ANEW_AIM_S, ONE_MORE_AIM_S, PAGE_AIM_BYTES = 60, 5, 2_000_000


def build_s(root: Path, site: Path, whole_runs: int) -> float:
    """Seconds of `gfjobs site`, from the start of its process to its end."""
    command = [
        sys.executable,
        "-c",
        "from jobs.cli import main; main()",
        "site",
        "-o",
        str(site),
        "--results",
        str(root),
    ]
    began_s = time.perf_counter()
    subprocess.run([*command, "--whole", str(whole_runs)], check=True, capture_output=True)
    return time.perf_counter() - began_s


def line(name: str, took_s: list[float], aim: str) -> str:
    """A row of the table: median, range, and aim."""
    spread = f"{min(took_s):.1f}-{max(took_s):.1f}"
    return f"{name:44}{statistics.median(took_s):8.1f} {spread:>12}  {aim}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="year")
    parser.add_argument("--keep", type=Path, help="where the runs stay; else they are deleted")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    size: Size = SIZES[options.size]
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    with contextlib.ExitStack() as stack:
        folder = options.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        root, site = folder / "results", folder / "site"
        for night in range(size.runs):
            make_run(root, night, size)
        storage.compact(root)
        anew, same, more, whole = [], [], [], []
        for number in range(options.repeats):
            shutil.rmtree(site, ignore_errors=True)
            anew.append(build_s(root, site, 0))
            same.append(build_s(root, site, 0))
            make_run(root, size.runs + number, size)
            more.append(build_s(root, site, 0))
            whole.append(build_s(root, site, 1))
        print(f"{size.runs} runs of {size.cells} cells, {CORES} cores")
        print(f"\n{'seconds':44}{'median':>8} {'range':>12}  aim")
        print(line("made anew", anew, f"<= {ANEW_AIM_S}"))
        print(line("nothing changed", same, ""))
        print(line("one run more", more, f"<= {ONE_MORE_AIM_S}"))
        print(line("everything of the newest, and compared", whole, ""))
        files = [each for each in site.rglob("*") if each.is_file()]
        page = max(each.stat().st_size for each in files if each.suffix == ".html")
        part = max(each.stat().st_size for each in files)
        total = sum(each.stat().st_size for each in files)
        print(
            f"\nlargest page {page / 1e6:.2f} MB, largest file {part / 1e6:.2f} MB, all"
            f" {total / 1e6:.0f} MB in {len(files):,} files; aim of a page <= "
            f"{PAGE_AIM_BYTES / 1e6:g} MB"
        )


if __name__ == "__main__":
    main()
