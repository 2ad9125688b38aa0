"""The state file of this machine's node: the process of its supervisor, and its phase."""

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
from jobs.common.errors import JobsError, UsageError

RAY_FOLDER = "RAY_TMPDIR"
MAX_RAY_FOLDER = 36
"""Bytes of its path: with the names of a session and a socket it must stay within the 107 bytes
that Linux allows, or the 103 of macOS."""

_OWN = f"gfjobs-{os.getuid()}"

STARTING, RUNNING, WAITING = "starting", "running", "waiting"


@dataclass(frozen=True)
class NodeState:
    """The last state that a supervisor has written.

    Attributes:
        pid: of the supervisor.
        created_s: start time of that process, to tell it from a later one with the same pid.
        name: of the node.
        address: of the cluster's head.
        host: the address by which others reach the node.
        phase: `starting`, `running`, or `waiting` to restart Ray.
        detail: why it waits.
        restarts: how often Ray was restarted.
    """

    pid: int
    created_s: float
    name: str
    address: str
    host: str = ""
    phase: str = STARTING
    detail: str = ""
    restarts: int = 0

    def process(self) -> psutil.Process | None:
        """Return its supervisor; None if that has ended."""
        try:
            process = psutil.Process(self.pid)
            is_it = abs(process.create_time() - self.created_s) < 1
            return process if is_it and process.status() != psutil.STATUS_ZOMBIE else None
        except psutil.NoSuchProcess:
            return None

    def write(self) -> None:
        """Replace the state file atomically."""
        replace_file(state_file(), json.dumps(asdict(self)).encode())


def read_state() -> NodeState | None:
    """Return the state of the node that runs here; None if none runs."""
    try:
        state = NodeState(**json.loads(state_file().read_text()))
    except (OSError, ValueError, TypeError):
        return None
    return state if state.process() else None


def state_file() -> Path:
    """Return the path of the state file: one node per user and machine."""
    return runtime_folder() / "node.json"


def log_file() -> Path:
    """Return the path of the log of Ray and its supervisor."""
    return runtime_folder() / "node.log"


def runtime_folder() -> Path:
    """Return a folder private to this user, the same for a login, a service and SSH.

    $XDG_RUNTIME_DIR is unsuitable: it is removed when the last login ends, while the node stays.

    Raises:
        JobsError: another user made it.
    """
    return _private(Path(tempfile.gettempdir()))


def ray_folder() -> Path:
    """Return the folder of Ray's sessions, which holds its sockets, logs and spilled objects.

    That is $RAY_TMPDIR if it is set; else the folder of `runtime_folder`, or the same below /tmp if
    the name of a socket would not fit otherwise, as below the job folders of Slurm.

    Raises:
        UsageError: neither is short enough, or $RAY_TMPDIR cannot be a folder.
        JobsError: another user made it.
    """
    given = os.environ.get(RAY_FOLDER)
    bases = [Path(given)] if given else [Path(tempfile.gettempdir()), Path("/tmp")]  # noqa: S108
    for base in bases:
        folder = base if given else base / _OWN
        if len(os.fsencode(folder.absolute())) <= MAX_RAY_FOLDER:
            return _checked(base) if given else _private(base)
    length = len(os.fsencode(bases[0].absolute()))
    raise UsageError(
        f"{bases[0]} is {length} bytes long, and the names of Ray's sockets leave room for"
        f" {MAX_RAY_FOLDER}: set {RAY_FOLDER} to a short folder, such as /tmp"
    )


def _checked(given: Path) -> Path:
    """Check that Ray can write in a folder, or make it."""
    with contextlib.suppress(OSError):
        there = next(path for path in (given, *given.absolute().parents) if path.exists())
        if there.is_dir() and os.access(there, os.W_OK | os.X_OK):
            return given
    raise UsageError(
        f"${RAY_FOLDER} is {given}, which is not a folder that this user can write in; set it to"
        " one, such as /tmp, or unset it"
    )


def _private(base: Path) -> Path:
    folder = base / _OWN
    try:
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        found = folder.lstat()  # not stat: another user may have made it a link
    except OSError as err:
        raise JobsError(f"{folder} cannot be created: {err.strerror}; set TMPDIR") from err
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise JobsError(f"{folder} belongs to another user; remove it, or set TMPDIR")
    folder.chmod(0o700)
    return folder
