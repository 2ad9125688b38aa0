"""The bench: undisturbed runs, disturbed ones, and what differs between their rows."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import re
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import psutil
from faults import driver

import storage

PATIENCE_S = 240
POLL_S = 0.01
RUN = "r"

GRID = """\
name: ladder
models: [digits-gfnet, digits-dynn]
datasets: [{name: digits, limit: 40}]
thresholds: [0.5, 0.9]
threads: [1]
latency: {rounds: 6, warmup_images: 4}
"""

SMALL_GRID = GRID.replace("limit: 40", "limit: 20").replace("rounds: 6", "rounds: 3")
"""For the short form: 11 tasks."""

# Everything of a row but timings and where it ran; a device's name is part of a cell's identity.
ANSWERS = """
select c.kind, c.model, c.dataset, c.threshold, {number} as number, r.image_id, r.label,
    r.exit_block, r.prediction, r.is_correct, r.gate_score
from {table} r join cells c using (run_id, cell_id) where run_id = '{run_id}'
"""
NUMBERS = {"records": "r.round", "exits": "0"}

# Of cells under load: which request or batch, as their number.
UNDER_LOAD = """
select c.kind, c.model, c.dataset, c.threshold,
    format('{{}}/{{}}/{{}}', r.round, r.{number}, {load}) as number, {what}
from {table} r join cells c using (run_id, cell_id) where run_id = '{run_id}'
"""
LOADS = {
    "responses": {"number": "request", "load": "c.arrivals_per_s", "what": "image_id, exit_block"},
    "throughput": {"number": "batch", "load": "c.batch_size", "what": "r.images, NULL"},
}
KEY = 6


@cache
def forks() -> Any:
    """Processes that have loaded everything before they begin: kills hit work, not imports."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["faults.preloaded"])
    return context


def answers(root: Path, run_id: str = RUN) -> Counter[tuple[Any, ...]]:
    """Every row of a run, timings aside."""
    found: Counter[tuple[Any, ...]] = Counter()
    for table, number in NUMBERS.items():
        query = ANSWERS.format(table=table, number=number, run_id=run_id)
        rows = storage.query(root, query).to_pylist()
        found.update((table, *row.values()) for row in rows)
    for table, parts in LOADS.items():
        query = UNDER_LOAD.format(table=table, run_id=run_id, **parts)
        rows = storage.query(root, query).to_pylist()
        found.update((table, *row.values()) for row in rows)
    return found


def _with_gates_of(
    whole: Mapping[tuple[Any, ...], int], found: Mapping[tuple[Any, ...], int], tolerance: float
) -> Counter[tuple[Any, ...]]:
    """Rows with the undisturbed run's gate scores, the last column, where these are as near."""
    scores = {row[:-1]: row[-1] for row in whole}
    near: Counter[tuple[Any, ...]] = Counter()
    for (*rest, score), number in found.items():
        other = scores.get(tuple(rest))
        is_near = None not in (score, other) and abs(score - other) <= tolerance
        key = (*rest, other if is_near else score)
        near[key] += number
    return near


class Started:
    """A `gfjobs` command in a process group of its own.

    Args:
        arguments: of the command line.
        log: a file for all that it says.
        wound: a fault inside of it, see `faults.wounds`.
    """

    def __init__(self, arguments: list[str], log: Path, wound: str = "") -> None:
        self.log = log
        self.process: ForkServerProcess = forks().Process(
            target=driver.run, args=(arguments, str(log), wound, dict(os.environ))
        )
        self.process.start()
        assert self.process.pid is not None
        self.pid = self.process.pid

    def below(self) -> list[psutil.Process]:
        """All processes below it."""
        try:
            return list(psutil.Process(self.pid).children(recursive=True))
        except psutil.NoSuchProcess:
            return []

    def signal(self, number: int) -> None:
        """Send a signal to all of its group, as a terminal does."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def end(self) -> tuple[int, str]:
        """Wait for its end: exit code, and all that it said."""
        self.process.join(PATIENCE_S)
        if self.process.is_alive():
            self.signal(signal.SIGKILL)
            raise TimeoutError(f"no end after {PATIENCE_S} s: {self.log.read_text()[-2000:]}")
        assert self.process.exitcode is not None
        return self.process.exitcode, " ".join(self.log.read_text().split())  # unwrapped


def until(condition: Callable[[], object], what: str, patience_s: float = PATIENCE_S) -> float:
    """Wait for something that another process does; how long it took, seconds."""
    began_s = time.monotonic()
    while not condition():
        if time.monotonic() - began_s > patience_s:
            raise TimeoutError(f"waited {patience_s:.0f} s for {what}")
        time.sleep(POLL_S)
    return time.monotonic() - began_s


@dataclass
class Tally:
    """What came of a fault: rows of all disturbed runs together."""

    times: int = 0
    expected: int = 0
    lost: int = 0
    doubled: int = 0
    recoveries_s: list[float] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


class Bench:
    """Where one fault is injected.

    Args:
        folder: for all that is written.
        seed: of what is random.
        wholes: undisturbed results by grid, kept from fault to fault.
        grid: what is run, where the fault needs no other.
    """

    def __init__(self, folder: Path, seed: int, wholes: dict[str, Any], grid: str = GRID) -> None:
        self.folder, self.random, self._wholes = folder, random.Random(seed), wholes  # noqa: S311
        self.grid = grid
        self.tally = Tally()
        self._made = 0

    def run(self, grid: str = "") -> Run:
        """Another run, of which nothing has begun."""
        self._made += 1
        folder = self.folder / str(self._made)
        folder.mkdir()
        return Run(self, folder, grid or self.grid, folder / "results")

    def whole(self, grid: str = "") -> Whole:
        """The same grid, undisturbed, in one process."""
        grid = grid or self.grid
        if grid not in self._wholes:
            folder = Path(tempfile.mkdtemp(prefix="whole-", dir=self.folder.parent))
            run = Run(self, folder, grid, folder / "results")
            began_s = time.monotonic()
            code, said = run.submit("--inline").end()
            assert code == 0, said
            seconds = time.monotonic() - began_s
            (tasks,) = re.findall(r"(\d+) tasks to go", said)
            self._wholes[grid] = Whole(answers(run.root), seconds, int(tasks))
        whole: Whole = self._wholes[grid]
        return whole


@dataclass(frozen=True)
class Whole:
    """An undisturbed run: its rows, how long it took, how many tasks it has."""

    rows: Counter[tuple[Any, ...]]
    seconds: float
    tasks: int


class Run:
    """One disturbed run."""

    def __init__(self, bench: Bench, folder: Path, grid: str, root: Path) -> None:
        self.bench, self.folder, self.text, self.root = bench, folder, grid, root
        self.grid = folder / "grid.yaml"
        self.grid.write_text(grid)
        self._started = 0

    def submit(self, *options: str | Path, wound: str = "") -> Started:
        """Start it."""
        return self._start(["submit", str(self.grid), "--run", RUN], options, wound)

    def resume(self, *options: str | Path, wound: str = "") -> Started:
        """Go on with it; a run that was killed before it was made is submitted anew."""
        if not (self.root / "runs" / RUN / "run.parquet").exists():
            return self.submit(*options, wound=wound)
        return self._start(["resume", RUN], options, wound)

    def finish(self, *options: str | Path) -> str:
        """Go on with it to its end, which must be good; what was said."""
        started = self.resume(*options)
        code, said = started.end()
        assert code == 0, said
        return said

    def _start(self, command: list[str], options: tuple[str | Path, ...], wound: str) -> Started:
        self._started += 1
        log = self.folder / f"{self._started}.log"
        return Started(
            [*command, "--results", str(self.root), *map(str, options)], log, wound=wound
        )

    def commits(self) -> int:
        """Manifests that are there."""
        folder = self.root / "runs" / RUN / "commits"
        return len([path for path in folder.glob("*.json") if not path.name.startswith(".")])

    def status(self) -> str:
        """Of the run, as `gfjobs runs` says; empty where there is none."""
        if not self.root.is_dir():
            return ""
        found = [run for run in storage.list_runs(self.root) if run.run_id == RUN]
        return str(found[0].status) if found else ""

    def cells(self) -> list[dict[str, Any]]:
        """All its cells."""
        rows: list[dict[str, Any]] = storage.query(self.root, "from cells").to_pylist()
        return rows

    def until_commits(self, least: int) -> float:
        """Wait for so many; how long it took, seconds."""
        return until(lambda: self.commits() >= least, f"{least} commits")

    def recovers(self, began_s: float) -> None:
        """Wait for another commit, or the end of the run: the fault that began then is over."""
        before = self.commits()
        until(lambda: self.commits() > before or self.status() == "done", "another commit")
        self.bench.tally.recoveries_s.append(time.monotonic() - began_s)

    def compare(
        self,
        is_expected: Callable[[tuple[Any, ...]], bool] | None = None,
        gate_tolerance: float = 0.0,
    ) -> None:
        """Hold its rows against those of an undisturbed run.

        Args:
            is_expected: of a row of the undisturbed run (table, kind, model, dataset, threshold,
                number, image_id, ...), whether this fault lets it be; all, unless given.
            gate_tolerance: by how much a gate's score, and nothing else of a row, may differ.
        """
        whole = self.bench.whole(self.text).rows
        expected = Counter(
            {row: n for row, n in whole.items() if not is_expected or is_expected(row)}
        )
        found = answers(self.root)
        if gate_tolerance:
            found = _with_gates_of(whole, found, gate_tolerance)
        keys = Counter[tuple[Any, ...]]()
        for row, number in found.items():
            keys[row[: KEY + 3]] += number
        tally = self.bench.tally
        tally.expected += expected.total()
        tally.lost += (expected - found).total()
        tally.doubled += sum(number - 1 for number in keys.values())
        if strangers := found - expected:
            doubled = sum(number - 1 for number in keys.values())
            if strangers.total() > doubled:
                tally.remarks.append(f"{strangers.total()} rows that an undisturbed run has not")

    def injected(self, times: int = 1) -> None:
        """A fault was injected."""
        self.bench.tally.times += times


@contextlib.contextmanager
def environment(**values: str) -> Iterator[None]:
    """Set variables for what is started meanwhile."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def left_behind() -> list[psutil.Process]:
    """Processes of ours that a fault left: none but the fork server and its watcher may be there.

    Two small agents of Ray's look for a killed driver a minute longer; they run nothing of ours.
    """
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            words = " ".join(process.cmdline())
            is_ours = process.environ().get(driver.MARK) == str(os.getpid())
            is_ours &= process.ppid() != os.getpid()
            if is_ours and "gent" not in words and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def python_path() -> str:
    """What a process needs to find this package and the programs under test."""
    tests = Path(__file__).parents[1]
    given = os.environ.get("PYTHONPATH", "")
    wanted = [str(tests.parent), str(tests)]
    return os.pathsep.join([*wanted, *(part for part in given.split(os.pathsep) if part)])


def prepare() -> None:
    """Let all that is started below this process find what it needs, and be told from others."""
    os.environ["PYTHONPATH"] = python_path()
    for folder in (str(Path(__file__).parents[2]), str(Path(__file__).parents[1])):
        if folder not in sys.path:
            sys.path.insert(0, folder)
