"""Seconds of whole commands on a small results root, each started as a user starts it.

The root has one run of `examples/quickstart.yaml`, or of a grid that is given. Commands take turns,
forwards and backwards, so that a drift of the machine affects all alike. `s` is the median of the
time from the start to the end of the process, with the fastest and the slowest; `CPU s` that of the
processor time of the process. The ratios are of both to the limit: a command waits for little, so
on an idle machine they are alike; on a busy one the processor time grows too, as its caches are
shared. `imports alone` is a process that only imports what every command that reads results needs:
none can be faster, and others can be compared with it, whether the machine is busy or not.

`make run` is `gfjobs submit` of the grid, which starts Ray and ends it; its processor time is of
all its processes, as read every tenth of a second until they end: not comparable with the limit.

    python benchmarks/commands.py [--grid examples/quickstart.yaml] [--rounds 5] [--submits 1]
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import psutil

EXAMPLE = Path(__file__).parents[1] / "examples" / "quickstart.yaml"
START = "import sys; from jobs.cli import main; sys.argv[0] = 'gfjobs'; main()"
LOOK_S = 0.1
SUBMIT, SUBMIT_LIMIT_S = "make run", 12.0
MODELS = ("digits-gfnet", "digits-dynn")
IMPORTS = "imports alone"
LIBRARIES = "import click, fsspec, duckdb, pyarrow.parquet"
LIMITS_S: dict[str, float | None] = {
    IMPORTS: None,
    "--help": 0.25,
    "runs": 0.6,
    "status latest": 0.6,
    "curve latest": 1.5,
    "summary latest": None,
    f"compare latest latest --models {' '.join(MODELS)}": None,
    "report latest -o {folder}/report.html": 4.0,
}
"""The limit of each command; None: it is shown for comparison."""


class Times(NamedTuple):
    """Of one process: from start to end, and of the processor."""

    wall_s: float
    cpu_s: float


def command_line(words: str, folder: Path) -> list[str]:
    """A command as a process of its own, on the root in `folder`."""
    if words == IMPORTS:
        return [sys.executable, "-c", LIBRARIES]
    line = [sys.executable, "-c", START, *words.format(folder=folder).split()]
    return line if words == "--help" else [*line, "--results", str(folder / "results")]


def timed(words: str, folder: Path) -> Times:
    """Run a command that starts no processes.

    Raises: subprocess.CalledProcessError: it failed.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began_s = time.perf_counter()
    subprocess.run(command_line(words, folder), check=True, capture_output=True)
    wall_s = time.perf_counter() - began_s
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Times(wall_s, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def submitted(grid: Path, folder: Path) -> Times:
    """Submit a grid; the processor time is of all processes that this starts.

    Raises: RuntimeError: the run failed.
    """
    began_s = time.perf_counter()
    line = command_line(f"submit {grid}", folder)
    process = psutil.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    cpu_s: dict[int, float] = {}
    while process.poll() is None:
        try:
            for each in (process, *process.children(recursive=True)):
                used = each.cpu_times()
                cpu_s[each.pid] = used.user + used.system
        except psutil.Error:  # it ended meanwhile
            pass
        time.sleep(LOOK_S)
    wall_s = time.perf_counter() - began_s
    if process.returncode:
        raise RuntimeError(process.stderr.read().decode())
    return Times(wall_s, sum(cpu_s.values()))


def row(name: str, times: Sequence[Times], limit_s: float | None, *, has_cpu_ratio: bool) -> str:
    """A row of the table."""
    walls, cpus = ([getattr(each, field) for each in times] for field in Times._fields)
    wall_s, cpu_s = statistics.median(walls), statistics.median(cpus)
    spread = f"{min(walls):.2f}-{max(walls):.2f}"
    ratios = "".join(
        f"{value / limit_s:9.2f}" if limit_s and is_shown else f"{'':9}"
        for value, is_shown in ((wall_s, True), (cpu_s, has_cpu_ratio))
    )
    limit = f"{limit_s:7.2f}" if limit_s else f"{'':7}"
    return f"{name:18}{wall_s:7.2f}{spread:>14}{cpu_s:8.2f}{limit}{ratios}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--grid", type=Path, default=EXAMPLE)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--submits", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        submits = [submitted(options.grid, folder) for _ in range(max(options.submits, 1))]
        print(f"{'command':18}{'s':>7}{'':14}{'CPU s':>8}{'limit':>7}{'ratio':>9}{'of CPU':>9}")
        print(row(SUBMIT, submits, SUBMIT_LIMIT_S, has_cpu_ratio=False), flush=True)
        times: dict[str, list[Times]] = {words: [] for words in LIMITS_S}
        for number in range(options.rounds):
            for words in list(LIMITS_S)[:: 1 if number % 2 else -1]:
                times[words].append(timed(words, folder))
        for words, found in times.items():
            name = IMPORTS if words == IMPORTS else words.partition(" ")[0]
            print(row(name, found, LIMITS_S[words], has_cpu_ratio=True))


if __name__ == "__main__":
    main()
