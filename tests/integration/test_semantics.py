"""What users do to runs, with real processes: cancel, Ctrl-C twice."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import storage


def states(root: Path) -> dict[str, int]:
    """Cells by status."""
    counted = storage.query(root, "select status, count(*) n from cells group by all").to_pylist()
    return {row["status"]: row["n"] for row in counted}


def test_cancel_from_another_process(place: Any, processes: Any) -> None:
    """Within seconds; no process is left, and a resume is done with the rest."""
    driver = place.submit()
    processes.until(lambda: place.commits() >= 2, "2 commits")
    below = processes.below(driver.pid)
    code, said = place.command("cancel", "r", "--results", place.root).end()
    assert code == 0, said
    assert "run r is cancelled; its cells: " in said
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
    below = processes.below(driver.pid)
    raylets = [pid for pid in below if processes.name(pid).endswith("raylet")]
    assert raylets
    for pid in raylets:
        os.kill(pid, signal.SIGSTOP)
    driver.signal(signal.SIGINT)
    assert driver.is_running(1.0)
    driver.signal(signal.SIGINT)
    code, said = driver.end()
    assert code == 1, said
    assert "stopped at once" in said
    processes.until(lambda: not any(map(processes.is_alive, below)), "Ray's processes to end")
    assert storage.find_run(place.root, "r").status == "interrupted"
    code, said = place.command("resume", "r", "--results", place.root, "--inline").end()
    assert code == 0, said
    place.assert_like_an_undisturbed_run()
