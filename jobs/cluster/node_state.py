"""The node of this machine: a file that says which process keeps it and how it is."""

from __future__ import annotations

import contextlib
import json
import os
import stat
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from gfnet.atomic import replace_file
from jobs.common.errors import JobsError

STARTING, RUNNING, WAITING = "starting", "running", "waiting"


@dataclass(frozen=True)
class NodeState:
    """What a supervisor has written down last.

    Attributes:
        pid: of the supervisor.
        created_s: when that process began, which tells it from a later one of the same number.
        name: of the node.
        address: of the cluster's head.
        phase: `starting`, `running`, or `waiting` to start Ray again.
        detail: why it waits.
        restarts: how often Ray was started again.
    """

    pid: int
    created_s: float
    name: str
    address: str
    phase: str = STARTING
    detail: str = ""
    restarts: int = 0

    def process(self) -> psutil.Process | None:
        """Its supervisor; None where that has ended."""
        try:
            process = psutil.Process(self.pid)
            is_it = abs(process.create_time() - self.created_s) < 1
            return process if is_it and process.status() != psutil.STATUS_ZOMBIE else None
        except psutil.NoSuchProcess:
            return None

    def write(self) -> None:
        """Replace the file whole."""
        replace_file(state_file(), json.dumps(asdict(self)).encode())


def read_state() -> NodeState | None:
    """The node that runs here; None where none does."""
    try:
        state = NodeState(**json.loads(state_file().read_text()))
    except (OSError, ValueError, TypeError):
        return None
    return state if state.process() else None


def state_file() -> Path:
    """Where it stands: one node a user and machine."""
    return runtime_folder() / "node.json"


def log_file() -> Path:
    """What Ray and its supervisor say."""
    return runtime_folder() / "node.log"


def runtime_folder() -> Path:
    """A folder of this user alone, the same for a login, a service and SSH.

    $XDG_RUNTIME_DIR would not do: it goes when the last login ends, and the node stays.

    Raises:
        JobsError: somebody else made it.
    """
    folder = Path(tempfile.gettempdir()) / f"gfjobs-{os.getuid()}"
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()  # a link would lead to where its maker wants
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise JobsError(f"{folder} belongs to another user; remove it, or set TMPDIR")
    folder.chmod(0o700)
    return folder
