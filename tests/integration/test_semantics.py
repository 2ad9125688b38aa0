"""What users do to runs, with real processes: cancel, detach, watch, Ctrl-C twice, amend."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import storage

pytestmark = pytest.mark.xdist_group("semantics")  # they share a cluster

LONG = "rounds: 400"
"""In the place of 6 rounds: a run that does not end by itself while a test looks."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, make_ray_cluster: Any) -> Iterator[str]:
    """One Ray head for all tests of this module."""
    with make_ray_cluster(tmp_path_factory.mktemp("ray")) as address:
        yield address


def lengthen(place: Any) -> str:
    """Give the grid many rounds; the text as it was."""
    before: str = place.grid.read_text()
    place.grid.write_text(before.replace("rounds: 6", LONG))
    return before


def states(root: Path) -> dict[str, int]:
    """Cells by status."""
    counted = storage.query(root, "select status, count(*) n from cells group by all").to_pylist()
    return {row["status"]: row["n"] for row in counted}


def test_cancel_from_another_process(place: Any, processes: Any) -> None:
    """Within seconds; no process is left, and a resume is done with the rest."""
    driver = place.submit()
    processes.until(lambda: place.commits() >= 2, "2 commits")
    below = processes.below(driver.process.pid)
    code, said = place.command("cancel", "r", "--results", place.root).end()
    assert code == 0, said
    assert "run r is cancelled: cells " in said
    assert "gfjobs resume r" in said
    code, told = driver.end()
    assert code == 1
    assert "run r was cancelled" in told
    assert "Traceback" not in told
    processes.until(lambda: not any(map(processes.is_alive, below)), "its processes to end")
    assert storage.find_run(place.root, "r").status == "cancelled"
    assert set(states(place.root)) <= {"done", "cancelled"}
    code, said = place.command("resume", "r", "--results", place.root, "--inline").end()
    assert code == 0, said
    place.assert_like_an_undisturbed_run()
    code, said = place.command("cancel", "r", "--results", place.root).end()
    assert code == 0
    assert "run r is done: there is nothing to cancel" in said


def test_ctrl_c_twice_ends_at_once(place: Any, processes: Any) -> None:
    """Also where the clean-up hangs: Ray's processes are stopped ones, which nothing waits for."""
    driver = place.submit()
    processes.until(lambda: place.commits() >= 2, "2 commits")
    below = processes.below(driver.process.pid)
    raylets = [pid for pid in below if processes.name(pid).endswith("raylet")]
    assert raylets
    for pid in raylets:
        os.kill(pid, signal.SIGSTOP)
    os.kill(driver.process.pid, signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        driver.process.wait(1.5)
    os.kill(driver.process.pid, signal.SIGINT)
    code, said = driver.end()
    assert code == 1, said
    assert "stopped at once" in said
    processes.until(lambda: not any(map(processes.is_alive, below)), "Ray's processes to end")
    assert storage.find_run(place.root, "r").status == "interrupted"
    code, said = place.command("resume", "r", "--results", place.root, "--inline").end()
    assert code == 0, said
    place.assert_like_an_undisturbed_run()


def test_a_detached_run_survives_its_terminal(place: Any, cluster: str, processes: Any) -> None:
    """The submitting process is gone; status, watch and cancel find the driver; then it goes on."""
    short = lengthen(place)
    submitter = place.submit("--address", cluster, "--detach")
    processes.until(
        lambda: (place.root / "runs/r").is_dir() and storage.is_locked(place.root, "r"), "a driver"
    )
    log = storage.log_of(place.root, "r")
    processes.until(log.is_file, "the driver's log")
    os.killpg(submitter.process.pid, signal.SIGKILL)
    submitter.end()
    processes.until(lambda: place.commits() >= 2, "2 commits")
    code, said = place.command("status", "r", "--results", place.root).end()
    assert code == 0, said
    assert "driver: process " in said
    assert f"handed to the cluster at {cluster}" in said
    assert f"its log: {log}" in said
    watcher = place.command("watch", "r", "--results", place.root)
    code, said = place.command("cancel", "r", "--results", place.root).end()
    assert code == 0, said
    code, said = watcher.end()
    assert code == 1, said
    assert "run r is cancelled" in said
    assert "run r was cancelled" in log.read_text()
    place.grid.write_text(short)
    code, said = place.submit("--address", cluster, "--detach").end()
    assert code == 2, said
    assert "rounds can be added, not taken away" in said
    code, said = place.command("rm", "r", "--results", place.root).end()
    assert code == 0, said
    code, said = place.submit("--address", cluster, "--detach").end()
    assert code == 0, said
    assert "run r is driven on the cluster's head: process " in said
    code, said = place.command("watch", "r", "--results", place.root).end()
    assert code == 0, said
    assert "run r is done: 5 done" in said
    place.assert_like_an_undisturbed_run()
    code, said = place.submit("--address", cluster, "--detach").end()
    assert code == 0, said
    assert "run r is done: nothing is missing" in said


def test_what_the_head_does_not_see_is_refused_before_anything_is_left(
    place: Any, cluster: str
) -> None:
    """A relative root, no cluster at all, and a checkpoint that is another one there."""
    cases = [
        (("--detach", "--address", cluster, "--results", "here"), "'here' is relative"),
        (("--detach",), "give --address"),
        (("--detach", "--inline"), "give --address"),
    ]
    for options, told in cases:
        code, said = place.submit(*options).end()
        assert code == 2, said
        assert told in said
    assert not place.root.exists()


def test_what_the_head_sees_otherwise(place: Any, tmp_path: Path) -> None:
    """Asked as the head is, of a grid whose files are not the submitter's."""
    script = """
import sys
from pathlib import Path
import storage
from jobs.detach import seen_otherwise
from jobs.document import Document
from jobs.meanings import meanings
from jobs.planning import plan_document
grid, root = Path(sys.argv[1]), sys.argv[2]
document = Document.read(grid)
submitted = meanings(plan_document(document, grid.parent, None).cells)
with storage.probe(root) as probe:
    print("same:", seen_otherwise(root, probe, document, grid.parent, submitted))
    submitted["model digits-dynn"]["checkpoint"] = "0" * 64
    print("other:", seen_otherwise(root, probe, document, grid.parent, submitted))
    gone = Document(grid, document.text.replace("digits-gfnet", "gone.safetensors"))
    print("gone:", seen_otherwise(root, probe, gone, grid.parent, submitted))
    print("root:", seen_otherwise(root, ".tmp-none", document, grid.parent, submitted))
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(place.grid), str(place.root)],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    assert "same: \n" in done.stdout
    assert "checkpoint of model digits-dynn: here sha256 000000000000, there" in done.stdout
    assert "gone: of the grid it says:" in done.stdout
    assert f"root: {place.root} is another folder there" in done.stdout
    assert not place.root.exists()
