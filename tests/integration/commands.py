"""`gfjobs` commands as processes: to watch, interrupt and kill. What Linux says of processes.

Each is forked from a server that has loaded torch and the rest, as in `tests/faults`: it is a
process of its own, in a session of its own, but begins in milliseconds.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import tempfile
import time
from collections.abc import Callable, Mapping
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from faults import driver
from faults.bench import forks

import storage

PATIENCE_S = 120
POLL_S = 0.02

GRID = """\
name: ladder
models: [digits-gfnet, digits-dynn]
datasets: [{name: digits, limit: 24}]
thresholds: [0.5, 0.9]
threads: [1]
latency: {rounds: 6, warmup_images: 4}
"""

RECIPE = """\
name: tiny
stage: baseline
dataset: digits
validation: {fraction: 0.15, seed: 0}
model: {img_size: 8, patch_size: 4, embed_dim: 8, depth: 3}
preprocessing: {size: 8}
epochs: 3
batch_size: 64
learning_rate: 0.003
weight_decay: 0.05
warmup_epochs: 1
seed: 0
precision: float32
threads: 1
output: tiny.safetensors
"""


class Processes:
    """What Linux says of the processes below one."""

    def until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for something that another process does."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline, f"waited {PATIENCE_S} s for {what}"
            time.sleep(POLL_S)

    def below(self, pid: int) -> set[int]:
        """All descendants of a process."""
        parents = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and (stat := self._stat(int(entry.name))):
                parents[int(entry.name)] = int(stat[1])
        found: set[int] = {pid}
        while more := {child for child, parent in parents.items() if parent in found} - found:
            found |= more
        return found - {pid}

    def marked(self, mark: str) -> set[int]:
        """Those that were started with a word in their environment, by whomever."""
        found = set()
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdigit() and mark.encode() in (entry / "environ").read_bytes():
                    found.add(int(entry.name))
        return found

    def is_alive(self, pid: int) -> bool:
        """Whether a process runs; a zombie does not."""
        stat = self._stat(pid)
        return bool(stat) and stat[0] != "Z"

    def name(self, pid: int) -> str:
        """What a process calls itself."""
        try:
            return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0].decode()
        except OSError:
            return ""

    def _stat(self, pid: int) -> list[str]:
        """State, parent, ...; nothing of a process that has ended."""
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return []


class Command:
    """A `gfjobs` command in a process of its own.

    Args:
        arguments: of the command line.
        environment: its own, beside this process's; None takes a variable away.
    """

    def __init__(
        self, *arguments: str | Path, environment: Mapping[str, str | None] | None = None
    ) -> None:
        self._logs = [Path(_empty_file()), Path(_empty_file())]
        words = [str(each) for each in arguments]
        variables = {
            name: value
            for name, value in {**os.environ, **(environment or {})}.items()
            if value is not None
        }
        self._process: ForkServerProcess = forks().Process(
            target=driver.run,
            args=(words, str(self._logs[0]), "", variables, str(self._logs[1])),
        )
        self._process.start()
        assert self._process.pid is not None
        self.pid: int = self._process.pid
        self.has_ended = False

    def signal(self, number: int) -> None:
        """Send a signal to it alone."""
        os.kill(self.pid, number)

    def signal_group(self, number: int) -> None:
        """Send a signal to all of its session, as a terminal does."""
        os.killpg(self.pid, number)

    def printed(self) -> str:
        """What it has said on stdout so far."""
        return self._logs[0].read_text()

    def is_running(self, patience_s: float = 0.0) -> bool:
        """Whether it still runs, after some time."""
        self._process.join(patience_s)
        return self._process.is_alive()

    def end(self, patience_s: float = PATIENCE_S) -> tuple[int, str]:
        """Wait for its end: exit code and all that it said."""
        code, out, err = self.outcome(patience_s)
        return code, out + err

    def outcome(self, patience_s: float = PATIENCE_S) -> tuple[int, str, str]:
        """Wait for its end: exit code, what it said on stdout, and on stderr."""
        still_runs = self.is_running(patience_s)
        out, err = (log.read_text() for log in self._logs)
        assert not still_runs, f"no end after {patience_s} s: {out[-2000:]}{err[-2000:]}"
        self.has_ended = True
        for log in self._logs:
            log.unlink()
        code = self._process.exitcode
        assert code is not None
        return code, out, err


def _empty_file() -> str:
    handle, path = tempfile.mkstemp(prefix="gfjobs-", suffix=".log")
    os.close(handle)
    return path


class Place:
    """A grid, a results root, and the results of an undisturbed run."""

    def __init__(self, folder: Path, whole: Path) -> None:
        self.grid = folder / "ladder.yaml"
        self.grid.write_text(GRID)
        self.root = folder / "results"
        self.whole = whole
        self.mark = secrets.token_hex(8)
        self.begun: list[Command] = []

    def commits(self) -> int:
        """Shards that are committed so far."""
        return len(list(self.root.glob("runs/*/commits/*.json")))

    def command(
        self, *arguments: str | Path, environment: Mapping[str, str | None] | None = None
    ) -> Command:
        """Start any command."""
        marked = {**(environment or {}), driver.MARK: self.mark}
        self.begun.append(Command(*arguments, environment=marked))
        return self.begun[-1]

    def submit(self, *options: str, environment: Mapping[str, str | None] | None = None) -> Command:
        """Start the grid on Ray, as the run `r`."""
        words = ("submit", self.grid, "--run", "r", "--results", self.root, *options)
        return self.command(*words, environment=environment)

    def left(self) -> set[int]:
        """Processes of its commands that are still there, though their commands have ended.

        Two small agents of Ray's look for a killed driver a minute longer; they run nothing of
        ours.
        """
        processes = Processes()
        return {
            pid
            for pid in processes.marked(self.mark)
            if processes.is_alive(pid) and "gent" not in processes.name(pid)
        }

    def close(self) -> None:
        """End what is left, which must be nothing."""
        left = {each.pid for each in self.begun if not each.has_ended}
        with contextlib.suppress(AssertionError):
            Processes().until(lambda: not self.left(), "processes to end")
        left |= self.left()
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        assert not left, f"a test left processes behind: {left}"

    def assert_like_an_undisturbed_run(self) -> None:
        """The same rows, timings aside, each once."""
        for table, order in (("records", "round"), ("exits", "exit_block")):
            excluded = (
                "forward_ms, elapsed_ms, device_ms, started_at" if table == "records" else "run_id"
            )
            sql = (
                f"select * exclude ({excluded}) from {table}"  # noqa: S608 - names of the test's own
                f" order by cell_id, image_id, {order}"
            )
            whole, ours = storage.query(self.whole, sql), storage.query(self.root, sql)
            assert whole.num_rows > 0
            assert ours.equals(whole)
