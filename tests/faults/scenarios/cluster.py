"""Nodes and their links, on hosts in namespaces of their own."""

from __future__ import annotations

import contextlib
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from faults.bench import Bench, Run, until
from faults.scenario import Scenario
from support.hosts import REPOSITORY, Cluster, Host, Network, why_not

GRID = """\
name: boards
models: [digits-gfnet, digits-dynn]
datasets: [{name: digits, limit: 200}]
thresholds: [0.5]
threads: [1]
latency: {rounds: 12, warmup_images: 4, images: 200}
"""
MANY = """\
name: boards
models: [digits-gfnet, digits-dynn]
datasets: [{name: digits, split: train}, {name: digits}]
thresholds: [0.5]
threads: [1]
measure: [accuracy]
"""
BOARD = "jetson-orin-nano"
WOUNDED = str(REPOSITORY / "tests/faults/driver.py")


@dataclass
class Shelf:
    """A head that only drives, boards of one device, and a run on them."""

    bench: Bench
    run: Run
    head: Host
    boards: list[Host]
    token: str
    address: str
    drivers: list[subprocess.Popen[str]] = field(default_factory=list)

    def seen(self) -> str:
        """What can be said when something went otherwise."""
        hosts = (self.head, *self.boards)
        said = [f"{host.name}: {host.log()}" + "\n".join(host.processes()) for host in hosts]
        for driver in self.drivers:
            driver.kill()
            said.append(driver.communicate()[0])
        return "\n".join(said)

    def submit(self, *options: str, wound: str = "") -> subprocess.Popen[str]:
        """Start the run on the head."""
        return self._begin("submit", str(self.run.grid), "--run", "r", *options, wound=wound)

    def resume(self) -> subprocess.Popen[str]:
        """Go on with it."""
        return self._begin("resume", "r")

    def _begin(self, *words: str, wound: str = "") -> subprocess.Popen[str]:
        options = ["--results", str(self.run.root), "--address", self.address]
        command = (sys.executable, WOUNDED, wound, *words, *options)
        self.drivers.append(self.head.start(*command, token=self.token))
        return self.drivers[-1]

    def board_at_work(self) -> Host:
        """The board that the timed cells are bound to."""
        found: list[Host] = []

        def look() -> bool:
            found.extend(
                each for each in self.boards if "ray::latency" in "".join(each.processes())
            )
            return bool(found)

        until(look, "a timed task")
        return found[0]

    def end(self, driver: subprocess.Popen[str]) -> str:
        """Wait for its good end, and compare."""
        said, _ = driver.communicate(timeout=400)
        assert driver.returncode == 0, said
        self.run.compare()
        return said


@contextlib.contextmanager
def shelf(bench: Bench, boards: int, grid: str = GRID) -> Iterator[Shelf]:
    """A new network for one run."""
    bench.whole(grid)
    run = bench.run(grid)
    run.grid.write_text(grid + f"devices: [{BOARD}]\n")
    token = secrets.token_hex(32)
    with contextlib.closing(Network()) as network:
        head = network.host("head")
        others = [network.host(f"board{number}") for number in range(boards)]
        for host in (head, *others):
            host.environment["PYTHONPATH"] = f"{REPOSITORY}:{REPOSITORY}/tests"
        address = Cluster().start(head, [(host, BOARD) for host in others], "cpu", token)
        place = Shelf(bench, run, head, others, token, address)
        try:
            yield place
        except Exception as err:
            raise RuntimeError(f"{err}\n{place.seen()}") from err


def _cut(seconds: float) -> Callable[[Bench, int], None]:
    """A link that is down for some time, under a timed task."""

    def inject(bench: Bench, times: int) -> None:
        for _ in range(times):
            with shelf(bench, 1) as place:
                driver = place.submit()
                place.run.until_commits(4)
                board = place.board_at_work()
                board.unplug()
                began_s = time.monotonic()
                place.run.injected()
                time.sleep(seconds)
                board.replug()
                place.run.recovers(began_s)
                place.end(driver)

    return inject


def cut_at_end(bench: Bench, times: int) -> None:
    """The link goes down while a task is at work, and comes back after that has ended."""
    grid = GRID.replace("images: 200}", "images: 200}").replace("limit: 200", "limit: 400")
    for _ in range(times):
        with shelf(bench, 1, grid) as place:
            driver = place.submit(wound="work:slow:4")
            place.run.until_commits(3)
            board = place.board_at_work()
            board.unplug()
            began_s = time.monotonic()
            place.run.injected()
            until(lambda at=board: "ray::latency" not in "".join(at.processes()), "its end")
            time.sleep(15)
            board.replug()
            place.run.recovers(began_s)
            place.end(driver)


def node_gone(bench: Bench, times: int) -> None:
    """A board that never comes back: its timed cells start anew on another."""
    for _ in range(times):
        with shelf(bench, 2) as place:
            driver = place.submit()
            place.run.until_commits(6)
            board = place.board_at_work()
            board.unplug()
            began_s = time.monotonic()
            place.run.injected()
            _until_another_works(place, board)
            place.run.recovers(began_s)
            place.end(driver)


def _until_another_works(place: Shelf, gone: Host) -> None:
    others = [each for each in place.boards if each is not gone]
    until(
        lambda: any("ray::latency" in "".join(each.processes()) for each in others),
        "the other board to be at work",
    )


def node_raylet_killed(bench: Bench, times: int) -> None:
    """Kill -9 of a board's raylet: its supervisor starts it again."""
    for _ in range(times):
        with shelf(bench, 1) as place:
            driver = place.submit()
            place.run.until_commits(4)
            place.boards[0].run("pkill", "-9", "-x", "raylet")
            began_s = time.monotonic()
            place.run.injected()
            place.run.recovers(began_s)
            place.end(driver)


def head_killed(bench: Bench, times: int) -> None:
    """Kill -9 of the head's own process: the driver ends or goes on, and a resume finishes."""
    for _ in range(times):
        with shelf(bench, 1) as place:
            driver = place.submit()
            place.run.until_commits(4)
            place.head.run("pkill", "-9", "-x", "gcs_server")
            began_s = time.monotonic()
            place.run.injected()
            said, _ = driver.communicate(timeout=400)
            assert "Traceback" not in said, said
            _until_all_are_there(place)
            if driver.returncode == 0:
                place.run.compare()
                continue
            driver = place.resume()
            place.run.recovers(began_s)
            place.end(driver)


def _until_all_are_there(place: Shelf) -> None:
    names = [host.name for host in (place.head, *place.boards)]

    def look() -> bool:
        shown = place.head.run(*Cluster.gfjobs, "nodes", token=place.token).stdout
        return all(name in shown for name in names)

    until(look, "all nodes to be back")


def failing_node(bench: Bench, times: int) -> None:
    """A board that fails every task is set aside, named in `status`; the others do its work."""
    for _ in range(times):
        with shelf(bench, 2, MANY) as place:
            began_s = time.monotonic()
            driver = place.submit(wound="work:failing:board1")
            said = place.end(driver)
            bench.tally.recoveries_s.append(time.monotonic() - began_s)
            place.run.injected()
            assert "node board1 is set aside" in said, said
            status = place.head.gfjobs("status", "r", "--results", place.run.root)
            assert "node board1: set aside" in status, status
            assert {cell["status"] for cell in place.run.cells()} == {"done"}


SCENARIOS = (
    Scenario("network-5s", "link down for 5 s", _cut(5), 2, 0, why_not),
    Scenario("network-30s", "link down for 30 s", _cut(30), 2, 0, why_not),
    Scenario("network-90s", "link down for 90 s", _cut(90), 1, 0, why_not),
    Scenario("network-at-end", "link down as a task ends", cut_at_end, 2, 0, why_not),
    Scenario("node-gone", "node gone for good", node_gone, 1, 0, why_not),
    Scenario("node-raylet", "raylet of a node killed", node_raylet_killed, 2, 0, why_not),
    Scenario("head-killed", "head process killed", head_killed, 1, 0, why_not),
    Scenario("failing-node", "a node that fails every task", failing_node, 1, 0, why_not),
)
