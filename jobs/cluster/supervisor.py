"""The supervisor of a node: starts Ray, restarts it when it ends, and stops all its processes.

A node that is cut off from its head is declared dead, and its raylet then exits: only a restart
brings the node back. All of Ray's processes become children of this one, even if they detach
themselves, so that each is known and none is left over.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import FrameType

import psutil

from jobs.cluster.launch import Launch
from jobs.cluster.node_state import RUNNING, STARTING, WAITING, NodeState, state_file

START_TIMEOUT_S = 120.0
POLL_S = 0.5
BACKOFF_S = (1.0, 60.0)
"""Wait before Ray is restarted: first and longest."""

STEADY_S = 60.0
"""Running for longer than this resets the wait to the first."""

SETTLE_S = 5.0
"""Time for the GCS server of a head to end after its raylet has."""

END_S = 15.0
"""Time for processes to end by themselves before they are killed."""

_ADOPT = 36  # PR_SET_CHILD_SUBREAPER of prctl(2)
_SERVER = "gcs_server"
_ESSENTIAL = ("raylet", _SERVER)
_DELIBERATE = (0, -signal.SIGTERM, 128 + signal.SIGTERM)


class Supervisor:
    """Keeps one node running until it is told to end.

    Args:
        launch: the node.
        say: writes a progress message.
    """

    def __init__(self, launch: Launch, say: Callable[[str], None]) -> None:
        self._launch = launch
        self._say = say
        self._is_ending = False
        self._state = NodeState(
            pid=os.getpid(),
            created_s=psutil.Process().create_time(),
            name=launch.name,
            address=launch.address,
            host=launch.host,
        )

    def run(self) -> None:
        """Keep Ray running; returns after a signal, or if `ray stop` has stopped a head."""
        adopt_orphans()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._end)
        wait_s, most_s = BACKOFF_S
        try:
            self._note(STARTING)
            while not self._is_ending:
                began_s = time.monotonic()
                reason = self._live() if self._start() else "Ray did not start"
                end_all(POLL_S)
                if self._is_ending or reason is None:
                    break
                if time.monotonic() - began_s > STEADY_S:
                    wait_s = BACKOFF_S[0]
                self._state = replace(self._state, restarts=self._state.restarts + 1)
                self._note(WAITING, reason)
                self._say(f"{reason}; restarting in {wait_s:.0f} s")
                self._sleep(wait_s)
                wait_s = min(2 * wait_s, most_s)
        finally:
            end_all(END_S)
            state_file().unlink(missing_ok=True)
            self._say("ended")

    def _start(self) -> bool:
        """Run `ray start`, which returns when the node has joined; return whether it succeeded."""
        self._say(f"starting Ray on node {self._launch.name}, head {self._launch.address}")
        process = subprocess.Popen(
            self._launch.command(),
            env=self._launch.environment(os.environ),
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while process.poll() is None and not self._is_ending:
            if time.monotonic() > deadline_s:
                process.kill()
            time.sleep(POLL_S / 5)
        return process.returncode == 0 and not self._is_ending

    def _live(self) -> str | None:
        """Wait until Ray ends, and return why; None if it was stopped deliberately."""
        essential = {p.pid: p.name() for p in children() if p.name() in _ESSENTIAL}
        if "raylet" not in essential.values():
            return "Ray ended at once"
        self._note(RUNNING)
        self._say("running")
        while not self._is_ending:
            if ended := reap_named(essential):
                return self._why(ended, essential)
            time.sleep(POLL_S)
        return None

    def _why(self, ended: dict[str, int], essential: Mapping[int, str]) -> str | None:
        """Return why Ray ended, by its programs' exit codes; None if it was stopped deliberately.

        A head that `ray stop` or `ray down` has stopped stays down; any other node cannot tell
        this from a head that has gone, and waits for it. Both programs of a head are told to end
        at once: a raylet that finds the server already gone exits as if it had failed, so the
        server's exit code decides.
        """
        name, code = next(iter(ended.items()))
        deadline_s = time.monotonic() + SETTLE_S
        while self._launch.head is None:
            if set(ended.values()) & set(_DELIBERATE):
                self._say(f"{name} was stopped")
                return None
            if _SERVER in ended or time.monotonic() > deadline_s:
                break
            time.sleep(POLL_S / 5)
            ended |= reap_named(essential)
        return f"{name} ended with code {code}"

    def _sleep(self, seconds: float) -> None:
        deadline_s = time.monotonic() + seconds
        while time.monotonic() < deadline_s and not self._is_ending:
            time.sleep(POLL_S / 5)

    def _note(self, phase: str, detail: str = "") -> None:
        self._state = replace(self._state, phase=phase, detail=detail)
        self._state.write()

    def _end(self, _signal: int, _frame: FrameType | None) -> None:
        self._is_ending = True


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent ends.

    Raises:
        OSError: the system does not support this; Linux does.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_ADOPT, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


def children() -> list[psutil.Process]:
    """Return all descendants of this process."""
    return list(psutil.Process().children(recursive=True))


def reap() -> list[tuple[int, int]]:
    """Return pid and wait status of each child that has ended."""
    ended: list[tuple[int, int]] = []
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended
        if not pid:
            return ended
        ended.append((pid, status))


def reap_named(names: Mapping[int, str]) -> dict[str, int]:
    """Return the exit codes of ended children, by name; children not in `names` are ignored."""
    return {names[pid]: os.waitstatus_to_exitcode(how) for pid, how in reap() if pid in names}


def end_all(patience_s: float) -> None:
    """End all descendants: SIGTERM first, SIGKILL after `patience_s`, until none is left."""
    deadline_s = time.monotonic() + patience_s
    for process in children():
        _signal(process, signal.SIGTERM)
    while children() and time.monotonic() < deadline_s:
        reap()
        time.sleep(POLL_S / 5)
    while left := [p for p in children() if p.status() != psutil.STATUS_ZOMBIE]:
        for process in left:
            _signal(process, signal.SIGKILL)
        reap()
        time.sleep(POLL_S / 5)
    reap()


def _signal(process: psutil.Process, number: int) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return


def say(text: str) -> None:
    """Write a line with the time to stdout: the log or the journal."""
    sys.stdout.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")
    sys.stdout.flush()
