"""Ray for real: the same rows as in one process, whatever is interrupted or killed."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import storage

PATIENCE_S = 120

# What anybody on the network could run, who knows the address.
STRANGER = "import ray._raylet, sys; ray._raylet.GcsClient(sys.argv[1])"


def test_ray_gives_the_rows_of_the_inline_executor(
    place: Any, processes: Any, tmp_path: Path
) -> None:
    """Every value but the timings, and no process is left.

    Also for a new user, whose machine has no token: nobody else on the network may use their Ray,
    nothing is left in the home, and a second driver of the run ends with 2 and says who has it.
    """
    home = tmp_path / "home"
    home.mkdir()
    bare = dict.fromkeys(name for name in os.environ if name.startswith("RAY_AUTH"))
    command = place.submit(environment=bare | {"HOME": str(home)})
    processes.until(lambda: place.commits() >= 1, "a commit")
    command.signal(signal.SIGSTOP)  # so that it does not end meanwhile
    assert not {"dashboard.py", "log_monitor.py", "monitor.py"} & started_by(command, processes)
    code, told = place.command("resume", "r", "--results", place.root).end()
    assert code == 2, told
    assert str(command.pid) in told
    asked = ask_as_a_stranger(command, processes, home)
    command.signal(signal.SIGCONT)
    code, said = command.end()
    assert code == 0, said
    assert "5/5 cells" in said
    place.assert_like_an_undisturbed_run()
    assert "InvalidAuthToken" in asked
    assert not (home / ".ray").exists()


def started_by(command: Any, processes: Any) -> set[str]:
    """Names of the Python files that a command's Ray runs."""
    found: set[str] = set()
    for pid in processes.below(command.pid):
        with contextlib.suppress(OSError):  # it ended meanwhile
            words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
            found.update(Path(word).name for word in words if word.endswith(".py"))
    return found


def ask_as_a_stranger(command: Any, processes: Any, home: Path) -> str:
    """What somebody without a token is told by a command's Ray."""
    (raylet,) = [
        pid for pid in processes.below(command.pid) if processes.name(pid).endswith("raylet")
    ]
    words = Path(f"/proc/{raylet}/cmdline").read_text()
    address = re.findall(r"--gcs-address=([\d.]+:\d+)", words)[0]
    asked = subprocess.run(
        [sys.executable, "-c", STRANGER, address],
        capture_output=True,
        text=True,
        env={"HOME": str(home), "RAY_AUTH_MODE": "disabled"},
        timeout=PATIENCE_S,
        check=False,
    )
    return asked.stderr


def test_a_killed_driver_leaves_a_run_that_resumes(place: Any, processes: Any) -> None:
    """After kill -9 in the middle: no task runs on, and resume runs what is missing.

    There a worker is killed, too: that costs a try and no row, the driver gives its task out again.
    """
    command = place.submit()
    processes.until(lambda: place.commits() >= 6, "6 commits")
    below = processes.below(command.pid)
    command.signal(signal.SIGKILL)
    command.end()
    # Two small agents of Ray's look for it a minute longer; they run nothing of ours.
    works = [pid for pid in below if "Agent" not in processes.name(pid)]
    processes.until(lambda: not any(map(processes.is_alive, works)), "raylet and workers to end")
    (run,) = storage.list_runs(place.root)
    assert run.status == "interrupted"
    committed = place.commits()
    command = place.command("resume", "latest", "--results", place.root)
    processes.until(lambda: place.commits() >= committed + 2, "2 commits more")
    killed: list[int] = []

    def kill_one() -> bool:
        for pid in processes.below(command.pid):
            if processes.name(pid).startswith(("ray::latency", "ray::exits")):
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)
                break
        return bool(killed)

    processes.until(kill_one, "a worker at work")
    code, said = command.end()
    assert code == 0, said
    assert f"{20 - committed} tasks to go" in said
    assert "was lost" in said
    attempts = storage.query(place.root, "select max(attempts) a from cells").to_pylist()
    assert attempts == [{"a": 2}]
    place.assert_like_an_undisturbed_run()


def test_an_interrupted_run_leaves_no_process_and_resumes(place: Any, processes: Any) -> None:
    """Ctrl-C, as a terminal sends it to the whole group."""
    command = place.submit()
    processes.until(lambda: place.commits() >= 2, "2 commits")
    below = processes.below(command.pid)
    assert below, "Ray runs in processes of its own"
    command.signal_group(signal.SIGINT)
    code, said = command.end()
    assert code == 1, said
    assert "gfjobs resume" in said
    assert "Traceback" not in said
    processes.until(lambda: not any(map(processes.is_alive, below)), "Ray's processes to end")
    code, said = place.command("resume", "r", "--results", place.root, "--inline").end()
    assert code == 0, said
    place.assert_like_an_undisturbed_run()
