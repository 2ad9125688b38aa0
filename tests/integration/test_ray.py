"""Ray for real: the same rows as in one process, whatever is interrupted or killed."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

import storage


def test_ray_gives_the_rows_of_the_inline_executor(place: Any) -> None:
    """Every value but the timings, and no process is left."""
    command = place.submit()
    code, said = command.end()
    assert code == 0, said
    assert "5/5 cells" in said
    place.assert_like_an_undisturbed_run()


@pytest.mark.parametrize("after", [1, 9])
def test_a_killed_driver_leaves_a_run_that_resumes(after: int, place: Any, processes: Any) -> None:
    """After kill -9 in the middle: no task runs on, and resume runs what is missing."""
    command = place.submit()
    processes.until(lambda: place.commits() >= after, f"{after} commits")
    below = processes.below(command.process.pid)
    os.kill(command.process.pid, signal.SIGKILL)
    command.end()
    # Two small agents of Ray's look for it a minute longer; they run nothing of ours.
    works = [pid for pid in below if "Agent" not in processes.name(pid)]
    processes.until(lambda: not any(map(processes.is_alive, works)), "raylet and workers to end")
    (run,) = storage.list_runs(place.root)
    assert run.status == "interrupted"
    committed = place.commits()
    code, said = place.command("resume", "latest", "--results", place.root).end()
    assert code == 0, said
    assert f"{20 - committed} tasks to go" in said
    place.assert_like_an_undisturbed_run()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_no_process_and_resumes(
    number: int, place: Any, processes: Any
) -> None:
    """Ctrl-C, as a terminal sends it to the whole group, and a termination signal."""
    command = place.submit()
    processes.until(lambda: place.commits() >= 2, "2 commits")
    below = processes.below(command.process.pid)
    assert below, "Ray runs in processes of its own"
    if number == signal.SIGINT:
        os.killpg(command.process.pid, number)
    else:
        os.kill(command.process.pid, number)
    code, said = command.end()
    assert code == 1, said
    assert "gfjobs resume" in said
    assert "Traceback" not in said
    processes.until(lambda: not any(map(processes.is_alive, below)), "Ray's processes to end")
    code, said = place.command("resume", "r", "--results", place.root).end()
    assert code == 0, said
    place.assert_like_an_undisturbed_run()


def test_a_killed_worker_costs_a_try_and_no_row(place: Any, processes: Any) -> None:
    """The driver gives its task out again."""
    command = place.submit()
    processes.until(lambda: place.commits() >= 4, "4 commits")
    killed: list[int] = []

    def kill_one() -> bool:
        for pid in processes.below(command.process.pid):
            if processes.name(pid).startswith(("ray::latency", "ray::exits")):
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)
                break
        return bool(killed)

    processes.until(kill_one, "a worker at work")
    code, said = command.end()
    assert code == 0, said
    assert "was lost" in said
    attempts = storage.query(place.root, "select max(attempts) a from cells").to_pylist()
    assert attempts == [{"a": 2}]
    place.assert_like_an_undisturbed_run()


def test_no_cluster_at_the_address(place: Any) -> None:
    """Said in words within seconds, and nothing was written."""
    for address, words in (
        ("127.0.0.1:1", "no Ray cluster answers at '127.0.0.1:1'"),
        ("nowhere", "is not HOST:PORT"),
    ):
        code, said = place.submit("--address", address).end()
        assert code == 2
        assert words in said
        assert "Traceback" not in said
    assert not place.root.exists()


def test_a_running_cluster_serves(place: Any, ray_cluster: str) -> None:
    """Over --address, with the timing resource on its node: the same rows."""
    code, said = place.submit("--address", ray_cluster).end()
    assert code == 0, said
    place.assert_like_an_undisturbed_run()


def test_a_second_driver_is_kept_out(place: Any, processes: Any) -> None:
    """Two commands on one run: the second ends with 2 and says who has it."""
    command = place.submit()
    processes.until(lambda: place.commits() >= 1, "a commit")
    code, said = place.command("resume", "r", "--results", place.root).end()
    assert code == 2, said
    assert str(command.process.pid) in said
    code, said = command.end()
    assert code == 0, said
