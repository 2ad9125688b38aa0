"""Which share of the lines and branches of each package the tests run: `make coverage`."""

from __future__ import annotations

import collections
import json
import subprocess
import sys
import tempfile
from pathlib import Path, PurePosixPath

ROW = "{:<20} {:>8} {:>8} {:>9} {:>9} {:>9}\n"
HEADINGS = ("package", "lines", "run", "branches", "taken", "covered %")
COUNTS = ("num_statements", "covered_lines", "num_branches", "covered_branches")


def main() -> None:
    """Print a row for each package, with all it holds, and one for all.

    The share counts lines and branches together, as coverage.py does.
    """
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "coverage.json"
        command = [sys.executable, "-m", "coverage", "json", "-q", "-o", str(report)]
        subprocess.run(command, check=True)
        files = json.loads(report.read_text())["files"]
    packages: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for name, file in files.items():
        counts = {count: file["summary"][count] for count in COUNTS}
        for package in PurePosixPath(name).parents:
            packages["all" if str(package) == "." else str(package)].update(counts)
    sys.stdout.write(ROW.format(*HEADINGS))
    for package, counts in sorted(packages.items(), key=lambda item: (item[0] == "all", item[0])):
        lines, run, branches, taken = (counts[count] for count in COUNTS)
        share = 100 * (run + taken) / max(1, lines + branches)
        sys.stdout.write(ROW.format(package, lines, run, branches, taken, f"{share:.2f}"))


if __name__ == "__main__":
    main()
