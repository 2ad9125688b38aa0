"""Small runs back to back with faults: do memory and open files of what lives on grow?

One head, started by `gfjobs node start`, lives through all runs. Of three drivers one is killed
with kill -9 and its run resumed, another loses a worker; rows are counted each time. Resident
memory and open files of the head's processes are sampled after each run. The slope is a
least-squares line over the runs after the first tenth, and over the later half, each with its 95 %
interval; allocators and tables of bounded size fill up during the first half. Beside it the worst
that was seen, since what is let go now and then looks like growth in between.

    python benchmarks/soak.py --minutes 60 --state soak.jsonl

With --state samples are kept, and a soak that was stopped goes on counting. The cluster is a new
one then: slopes are of the life that has most samples.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

import storage

MIB = 2**20
SUPERVISOR = "node start"
WATCHED = (SUPERVISOR, "gcs_server", "raylet")
GRID = """\
name: soak
models: [digits-gfnet, digits-dynn]
datasets: [{name: digits, limit: 40}]
thresholds: [0.5]
threads: [1]
latency: {rounds: 3, warmup_images: 4}
"""
ROWS = 40 * 3 * 2 + 40 * (1 + 4)
"""Routed images of two models in three rounds, and answers at one and at four exits."""

GFJOBS = (sys.executable, "-c", "from jobs.cli import main; main()")
PATIENCE_S = 1800.0


@dataclass(frozen=True)
class Sample:
    """What lives on held after a run.

    Attributes:
        life: of the cluster.
        at_s: since its start.
        rss_mib, files: by process.
    """

    life: str
    at_s: float
    rss_mib: dict[str, float]
    files: dict[str, int]


@contextmanager
def cluster(folder: Path) -> Iterator[tuple[str, psutil.Process]]:
    """A head as `gfjobs node start` keeps it: its address, and the process above all of its."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": f"{random.getrandbits(256):064x}"}
    command = [*GFJOBS, "node", "start", "--head", "--block", "--host=127.0.0.1", f"--port={port}"]
    with (folder / "node.log").open("w") as log:
        own = os.environ | {"TMPDIR": str(folder)}  # it is not the node of this machine
        node = subprocess.Popen(command, env=own, stdout=log, stderr=log, start_new_session=True)
        process = psutil.Process(node.pid)
        below = []
        try:
            until(lambda: "Ray runtime started" in (folder / "node.log").read_text())
            yield f"127.0.0.1:{port}", process
        finally:
            with suppress(psutil.Error):
                below = process.children(recursive=True)
            for each in [process, *below]:
                with suppress(psutil.Error):
                    each.kill()
            node.wait()


def until(condition: object) -> None:
    """Wait for something that another process does."""
    began_s = time.monotonic()
    while not condition():
        if time.monotonic() - began_s > PATIENCE_S:
            raise TimeoutError("the soak waited too long for another process")
        time.sleep(0.05)


def driver(root: Path, address: str, *words: str) -> subprocess.Popen[str]:
    """Start `gfjobs` on the cluster."""
    options = ["--results", str(root), "--address", address]
    return subprocess.Popen(
        [*GFJOBS, *words, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def one_run(number: int, folder: Path, address: str, head: psutil.Process) -> int:
    """A run with its fault: how many faults there were.

    Raises:
        RuntimeError: it failed, or a row is lost or doubled.
    """
    root, grid = folder / f"run-{number}", folder / "soak.yaml"
    grid.write_text(GRID)
    faults = 0
    process = driver(root, address, "submit", str(grid), "--run", "r")
    commits = root / "runs/r/commits"
    if number % 3:
        at = random.randrange(1, 6)  # noqa: S311
        until(lambda: len(list(commits.glob("*.json"))) >= at or process.poll() is not None)
    if number % 3 == 1:
        process.kill()
        process.communicate()
        faults += 1
        process = driver(root, address, "resume", "r")
    if number % 3 == 2:  # noqa: PLR2004
        faults += kill_a_worker(head)
    said, _ = process.communicate(timeout=PATIENCE_S)
    if process.returncode:
        raise RuntimeError(f"run {number} failed: {said}")
    keys = "cell_id, image_id, exit_block"
    sql = f"select count(*) n, count(distinct (k, {keys})) d from (select round k, {keys} from records union all select -1, {keys} from exits)"  # noqa: E501, S608
    (found,) = storage.query(root, sql).to_pylist()
    if (found["n"], found["d"]) != (ROWS, ROWS):
        raise RuntimeError(f"run {number}: {found} rows, expected {ROWS}")
    shutil.rmtree(root)
    return faults


def kill_a_worker(head: psutil.Process) -> int:
    """Kill one that is at work; how many there were."""
    for each in head.children(recursive=True):
        with suppress(psutil.Error, IndexError):
            if each.cmdline()[0].startswith(("ray::latency", "ray::exits")):
                each.send_signal(signal.SIGKILL)
                return 1
    return 0


def sample(life: str, began_s: float, head: psutil.Process) -> Sample:
    """Take one."""
    rss, files = {}, {}
    for each in [head, *head.children(recursive=True)]:
        with suppress(psutil.Error):
            name = SUPERVISOR if each == head else each.name()
            if name in WATCHED:
                rss[name] = each.memory_info().rss / MIB
                files[name] = each.num_fds()
    return Sample(life, time.monotonic() - began_s, rss, files)


def slope(hours: list[float], values: list[float]) -> tuple[float, float]:
    """An hour's growth and half of its 95 % interval, by least squares."""
    if len(hours) < 4:  # noqa: PLR2004 - no spread of fewer
        return math.nan, math.nan
    x, y = np.asarray(hours), np.asarray(values)
    (gradient, base), spread = np.polyfit(x, y, 1), x.std() * math.sqrt(len(x))
    residual = (y - gradient * x - base).std() * math.sqrt(len(x) / (len(x) - 2))
    return float(gradient), float(1.96 * residual / spread)


def table(samples: list[Sample], runs: int, faults: int) -> str:
    """What was found, at most 80 columns."""
    life = max({s.life for s in samples}, key=lambda name: sum(s.life == name for s in samples))
    kept = [s for s in samples if s.life == life]
    kept = kept[len(kept) // 10 :]
    hours = [s.at_s / 3600 for s in kept]
    half = len(kept) // 2
    lines = [
        f"{runs} runs, {faults} faults, {len(kept)} samples over {hours[-1] - hours[0]:.2f} h",
        f"{'process':11}{'what':11}{'first':>7}{'most':>7}{'last':>7}{'an hour':>9}{'95 %':>8}{'later half':>12}{'95 %':>8}",  # noqa: E501
    ]
    for name in WATCHED:
        for what, values in (
            ("RSS MiB", [s.rss_mib[name] for s in kept]),
            ("open files", [float(s.files[name]) for s in kept]),
        ):
            growth, margin = slope(hours, values)
            later, later_margin = slope(hours[half:], values[half:])
            ends = f"{values[0]:>7.1f}{max(values):>7.1f}{values[-1]:>7.1f}"
            lines.append(
                f"{name:11}{what:11}{ends}{growth:>+9.2f}{f'±{margin:.2f}':>8}"
                f"{later:>+12.2f}{f'±{later_margin:.2f}':>8}"
            )
    return "\n".join(lines)


def main() -> None:
    """Soak for some minutes, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--state", type=Path, help="keeps samples; a stopped soak goes on")
    given = parser.parse_args()
    os.nice(10)
    samples, runs, faults, soaked_s = [], 0, 0, 0.0
    if given.state and given.state.exists():
        for line in given.state.read_text().splitlines():
            kept = json.loads(line)
            samples.append(Sample(**kept["sample"]))
            runs, faults, soaked_s = kept["runs"], kept["faults"], kept["soaked_s"]
    folder = Path(tempfile.mkdtemp(prefix="gfjobs-soak-"))
    try:
        with cluster(folder) as (address, head):
            life, began_s, before_s = folder.name, time.monotonic(), soaked_s
            while soaked_s < given.minutes * 60:
                faults += one_run(runs, folder, address, head)
                runs += 1
                soaked_s = before_s + time.monotonic() - began_s
                samples.append(sample(life, began_s, head))
                if given.state:
                    kept = {"runs": runs, "faults": faults, "soaked_s": soaked_s}
                    with given.state.open("a") as file:
                        file.write(json.dumps(kept | {"sample": vars(samples[-1])}) + "\n")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(table(samples, runs, faults))


if __name__ == "__main__":
    main()
