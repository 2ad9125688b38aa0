"""The supervisor of a node, with real processes and signals; Ray's own programs are stand-ins."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

PROGRAM = """
import sys
from jobs.cluster import supervisor

class Launch:
    name, host, address = "board", "10.0.0.2", "10.0.0.1:6379"
    head = sys.argv[2] or None
    def command(self):
        return ["sh", "-c", sys.argv[1]]
    def environment(self, base):
        return dict(base)

supervisor.POLL_S = 0.02
supervisor.BACKOFF_S = (0.05, 0.2)
supervisor.SETTLE_S = float(sys.argv[3])
supervisor.Supervisor(Launch(), supervisor.say).run()
"""

PATIENCE_S = 60


def starts(*names: str) -> str:
    """As `ray start` does: it returns once its programs run, which have detached themselves."""
    return "".join(
        f"setsid ./{name} 1000 >/dev/null & "
        f"until grep -qs {name} /proc/$!/comm; do sleep 0.01; done; "
        for name in names
    )


STARTS = starts("agent", "raylet")
STARTS_HEAD = starts("agent", "gcs_server", "raylet")


class Node:
    """A supervisor in a process of its own, with a `ray start` that is this line of shell."""

    def __init__(self, folder: Path, line: str, head: str = "", settle_s: float = 0.5) -> None:
        self._log = folder / "log"
        self._state = folder / f"gfjobs-{os.getuid()}" / "node.json"
        for name in ("raylet", "gcs_server", "agent"):
            (folder / name).symlink_to("/bin/sleep")  # a process is called as its file is
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", PROGRAM, line, head, str(settle_s)],
                cwd=folder,
                env=os.environ | {"TMPDIR": str(folder)},
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    @property
    def said(self) -> str:
        """Its log."""
        return self._log.read_text()

    @property
    def state(self) -> dict[str, Any] | None:
        """What it has written down last."""
        try:
            state: dict[str, Any] = json.loads(self._state.read_text())
        except FileNotFoundError:
            return None
        return state

    def until(self, is_so: Callable[[], object], what: str) -> None:
        """Wait for something."""
        deadline_s = time.monotonic() + PATIENCE_S
        while not is_so():
            assert time.monotonic() < deadline_s, f"{what}:\n{self.said}"
            time.sleep(0.01)

    def below(self) -> dict[str, psutil.Process]:
        """Processes below it, by name."""
        found = {}
        for process in psutil.Process(self.process.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                if process.status() != psutil.STATUS_ZOMBIE:
                    found[process.name()] = process
        return found

    def until_running(self, restarts: int = 0) -> psutil.Process:
        """Wait for a raylet that runs after so many restarts."""

        def is_running() -> bool:
            state = self.state or {}
            return (state.get("phase"), state.get("restarts")) == ("running", restarts)

        self.until(is_running, f"running after {restarts} restarts")
        self.until(lambda: {"raylet", "agent"} <= self.below().keys(), "Ray's processes")
        return self.below()["raylet"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Node]]:
    """Start nodes; none is left."""
    nodes: list[Node] = []

    def start_one(*arguments: Any) -> Node:
        nodes.append(Node(tmp_path, *arguments))
        return nodes[-1]

    yield start_one
    for node in nodes:
        if node.process.poll() is None:
            left = [*node.below().values(), node.process]
            for process in left:
                with contextlib.suppress(psutil.NoSuchProcess):  # it may end meanwhile
                    process.kill()
            node.process.wait()


def test_a_raylet_that_dies_is_started_again(start: Callable[..., Node]) -> None:
    """What is left of Ray goes first; the reason is written down; SIGTERM ends it all."""
    node = start(STARTS, "10.0.0.1:6379")
    raylet, agent = node.until_running(), node.below()["agent"]
    raylet.kill()
    node.until_running(restarts=1)
    assert not agent.is_running()
    assert "raylet ended with code -9; restarting in 0 s" in node.said
    below = node.below()
    node.process.send_signal(signal.SIGTERM)
    assert node.process.wait(PATIENCE_S) == 0
    assert not any(process.is_running() for process in below.values())
    assert node.state is None
    assert node.said.endswith("ended\n")


@pytest.mark.parametrize("head", ["", "10.0.0.1:6379"], ids=["head", "board"])
def test_a_raylet_that_was_asked_to_end(head: str, start: Callable[..., Node]) -> None:
    """On a head that is `ray down`, and it stays down; a board waits for its head."""
    node = start(STARTS, head)
    node.until_running().terminate()
    if head:
        node.until_running(restarts=1)
        assert "raylet ended with code -15" in node.said
        return
    assert node.process.wait(PATIENCE_S) == 0
    assert "raylet was stopped" in node.said
    assert node.state is None


def test_a_head_that_was_stopped_stays_down_whatever_its_raylet_says(
    start: Callable[..., Node],
) -> None:
    """`ray down` asks both to end: a raylet that finds the other gone ends as if it had failed."""
    node = start(STARTS_HEAD, "", 10)
    raylet, server = node.until_running(), node.below()["gcs_server"]
    raylet.kill()
    time.sleep(0.3)
    assert node.process.poll() is None
    server.terminate()
    assert node.process.wait(PATIENCE_S) == 0
    assert "raylet was stopped" in node.said
    assert "restarting" not in node.said


def test_a_head_that_lost_one_of_its_programs_is_started_again(start: Callable[..., Node]) -> None:
    """The raylet, while the other runs on; then both at once."""
    node = start(STARTS_HEAD)
    node.until_running().kill()
    raylet, server = node.until_running(restarts=1), node.below()["gcs_server"]
    server.kill()
    raylet.kill()
    node.until_running(restarts=2)
    assert node.said.count("ended with code -9; restarting") == 2


@pytest.mark.parametrize(
    ("line", "reason"), [("exit 3", "Ray did not start"), ("exit 0", "Ray ended at once")]
)
def test_a_ray_that_does_not_start_is_tried_again(
    line: str, reason: str, start: Callable[..., Node]
) -> None:
    """At growing intervals, as its state says meanwhile; a signal ends the waiting."""
    node = start(line, "10.0.0.1:6379")
    node.until(lambda: node.said.count(f"{reason}; restarting") >= 3, "three tries")

    def is_waiting() -> bool:
        state = node.state or {}
        return (state.get("phase"), state.get("detail")) == ("waiting", reason)

    node.until(is_waiting, "waiting")
    node.process.send_signal(signal.SIGINT)
    assert node.process.wait(PATIENCE_S) == 0
    assert node.state is None
