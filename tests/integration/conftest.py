"""Real processes: a command line to watch, interrupt and kill."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import storage

REPOSITORY = Path(__file__).parents[2]
GFJOBS = (sys.executable, "-c", "from jobs.cli import main; main()")
PATIENCE_S = 120
POLL_S = 0.05

GRID = """\
name: ladder
models: [digits-gfnet, digits-dynn]
datasets: [{name: digits, limit: 24}]
thresholds: [0.5, 0.9]
threads: [1]
latency: {rounds: 6, warmup_images: 4}
"""


@pytest.fixture(scope="session", autouse=True)
def _half_of_the_workers_on_the_first_processors() -> None:
    """Timed tasks go to the last processor they may use: those of all workers to the same one."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0")
    if int(worker.removeprefix("gw")) % 2 and hasattr(os, "sched_setaffinity"):
        processors = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, processors[: max(1, len(processors) // 2)])


@pytest.fixture(scope="session", autouse=True)
def _rays_workers_are_as_urgent_as_others() -> Iterator[None]:
    """Ray makes them nice; beside tests of other workers they would hardly get on."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_worker_niceness", "0")
        yield


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
    """A `gfjobs` command in a process of its own."""

    def __init__(self, *arguments: str | Path) -> None:
        self.process = subprocess.Popen(
            [*GFJOBS, *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def end(self) -> tuple[int, str]:
        """Wait for its end: exit code and all that it said."""
        out, err = self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode, out + err


class Place:
    """A grid, a results root, and the results of an undisturbed run."""

    def __init__(self, folder: Path, whole: Path) -> None:
        self.grid = folder / "ladder.yaml"
        self.grid.write_text(GRID)
        self.root = folder / "results"
        self.whole = whole

    def commits(self) -> int:
        """Shards that are committed so far."""
        return len(list(self.root.glob("runs/*/commits/*.json")))

    def command(self, *arguments: str | Path) -> Command:
        """Start any command."""
        return Command(*arguments)

    def submit(self, *options: str) -> Command:
        """Start the grid on Ray, as the run `r`."""
        return Command("submit", self.grid, "--run", "r", "--results", self.root, *options)

    def assert_like_an_undisturbed_run(self) -> None:
        """The same rows, timings aside, each once."""
        for table, order in (("records", "round"), ("exits", "exit_block")):
            excluded = "forward_ms, elapsed_ms, started_at" if table == "records" else "run_id"
            sql = (
                f"select * exclude ({excluded}) from {table}"  # noqa: S608 - names of the test's own
                f" order by cell_id, image_id, {order}"
            )
            whole, ours = storage.query(self.whole, sql), storage.query(self.root, sql)
            assert whole.num_rows > 0
            assert ours.equals(whole)


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of an undisturbed run, in one process."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "ladder.yaml").write_text(GRID)
    grid, root = folder / "ladder.yaml", folder / "results"
    code, said = Command("submit", grid, "--run", "r", "--results", root, "--inline").end()
    assert code == 0, said
    return root


@pytest.fixture
def place(tmp_path: Path, whole: Path) -> Iterator[Place]:
    """A grid of 5 cells and 20 tasks."""
    before = Processes().below(os.getpid())  # of a cluster that several tests share
    yield Place(tmp_path, whole)
    left = [pid for pid in Processes().below(os.getpid()) if Processes().is_alive(pid)]
    shared = before.union(*map(Processes().below, before))
    left = [pid for pid in left if pid not in shared]
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left, "a test left processes behind"


@pytest.fixture
def processes() -> Processes:
    """The processes of this machine."""
    return Processes()


@contextlib.contextmanager
def _ray_cluster(folder: Path) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    ray = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"]
    options = [f"--port={port}", "--node-ip-address=127.0.0.1", "--include-dashboard=false"]
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    with (
        pytest.MonkeyPatch.context() as patch,
        (folder / "ray.log").open("w") as log,
    ):
        for name, value in token.items():
            patch.setenv(name, value)
        with subprocess.Popen(
            [*ray, *options, "--num-cpus=2", "--resources", '{"timing": 1}'],
            stdout=log,
            stderr=log,
            start_new_session=True,
        ) as head:
            below: set[int] = set()
            try:
                started = folder / "ray.log"
                Processes().until(lambda: "Ray runtime started" in started.read_text(), "Ray")
                below = Processes().below(head.pid)
                yield f"127.0.0.1:{port}"
            finally:
                for pid in [head.pid, *(below | Processes().below(head.pid))]:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)


@pytest.fixture
def ray_cluster(tmp_path: Path) -> Iterator[str]:
    """The address of a Ray cluster of one node, in processes and with a token of its own."""
    with _ray_cluster(tmp_path) as address:
        yield address


@pytest.fixture(scope="session")
def make_ray_cluster() -> Callable[[Path], contextlib.AbstractContextManager[str]]:
    """Such a cluster for several tests, with its log in a folder."""
    return _ray_cluster
