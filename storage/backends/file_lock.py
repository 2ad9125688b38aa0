"""File locks, above all the lease of a run: one process may write the run until it ends.

A lock is an exclusive `flock`; that of a run is on `<run>/lock`. The kernel releases it when the
process ends, however it ends. The file's content names the holder, for messages only.

A lock counts only while its file still has its name: removing a run removes the file, and two
processes could then hold locks on two files of the same name. So a process compares the locked
file with what the path names, right after locking it and again before each write.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from typing import TYPE_CHECKING

from storage.backends.backend import Lease
from storage.backends.handles import open_regular
from storage.errors import RunLockedError

if TYPE_CHECKING:
    from pathlib import Path

LOCK_NAME = "lock"

# lock_holder() takes the lock for a moment, so a writer that meets such a reader tries again.
_ATTEMPTS = 20
_PAUSE_S = 0.01


class HeldError(Exception):
    """A file is locked; the text names the process that holds it."""


class FileLease(Lease):
    """The held lease of one run folder; `since_ns` is when it was taken."""

    def __init__(self, folder: Path) -> None:
        """Take the lease.

        Raises:
            RunLockedError: another process (or another object of this one) holds it.
            FileNotFoundError: there is no such folder.
            OSError: the lock file cannot be opened.
        """
        self._path = folder / LOCK_NAME
        try:
            self._handle = take_lock(self._path)
        except HeldError as err:
            raise RunLockedError(
                f"run {folder.name} is being written by {err}; follow it with "
                f"`gfjobs watch {folder.name}`, or stop it with `gfjobs cancel {folder.name}`"
            ) from err
        # By the clock of the file system, as for all other files in the folder.
        self.since_ns = os.fstat(self._handle).st_mtime_ns

    @property
    def is_held(self) -> bool:
        """Whether this object still holds the lease."""
        return self._handle >= 0

    def confirm(self) -> None:
        """Check that the locked file still has its name; a lock is lost in no other way.

        Raises: RunLockedError: the run's folder was removed or replaced by hand.
        """
        if self._handle >= 0 and not _is_named(self._handle, self._path):
            raise RunLockedError(
                f"the lock of run {self._path.parent.name} ({self._path}) was removed or replaced "
                "while it was held, so another process may be writing a run of that name; this "
                "process writes nothing more"
            )

    def release(self) -> None:
        """Release the lease; a second call does nothing."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


def lease_holder(folder: Path) -> str | None:
    """Name the process that holds the lease of a run folder; None if no process does."""
    return lock_holder(folder / LOCK_NAME)


def take_lock(path: Path) -> int:
    """Lock a file, creating it if needed; closing the returned handle releases the lock.

    Raises:
        HeldError: another process (or another handle of this one) holds it.
        FileNotFoundError: the file's folder does not exist.
        OSError: the file cannot be opened, or is a link.
    """
    while True:
        handle = open_regular(path, os.O_RDWR | os.O_CREAT)
        try:
            _lock(handle)
            if _is_named(handle, path):
                os.ftruncate(handle, 0)
                owner = {"pid": os.getpid(), "host": socket.gethostname()}
                os.pwrite(handle, json.dumps(owner).encode(), 0)
                return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)  # a lock on a file that has been removed excludes no other process


def lock_holder(path: Path) -> str | None:
    """Name the process that has locked a file; None if no process has."""
    try:
        handle = open_regular(path)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _owner(handle)
    finally:
        os.close(handle)
    return None


def _lock(handle: int) -> None:
    for attempt in range(_ATTEMPTS):
        if attempt:
            time.sleep(_PAUSE_S)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        return
    raise HeldError(_owner(handle))


def _is_named(handle: int, path: Path) -> bool:
    """Whether the path still names the open file."""
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))  # noqa: PTH116 (like fstat)
    except FileNotFoundError:
        return False


def _owner(handle: int) -> str:
    try:
        owner = json.loads(os.pread(handle, 4096, 0))
        return f"process {owner['pid']} on {owner['host']}"
    except (ValueError, KeyError, TypeError):
        return "another process"
