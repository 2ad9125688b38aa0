"""Real processes: a command line to watch, interrupt and kill."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .browser import Page, browser
from .commands import GRID, Command, Place, Processes


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


@pytest.fixture
def tab(tmp_path: Path) -> Iterator[Page]:
    """A tab of a browser; afterwards it has logged nothing."""
    with browser(tmp_path / "profile") as opened:
        opened.resize(1280)
        yield opened
        assert not opened.errors


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
    """A grid of 5 cells and 20 tasks; afterwards no process of its commands may be left."""
    made = Place(tmp_path, whole)
    with contextlib.closing(made):
        yield made


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


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Ray cluster of one node, in processes and with a token of its own."""
    with _ray_cluster(tmp_path_factory.mktemp("ray")) as address:
        yield address
