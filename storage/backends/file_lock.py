"""Locks of files: above all the lease of a run, by which one process writes it until it dies.

An exclusive `flock`, of a run on `<run>/lock`. The kernel drops it with the process, however that
ends. The file says who holds it, for messages only.

A lock counts only while its file still has the name: removing a run takes the file away, and two
processes could then hold the locks of two files of one name. So whoever has just locked a file
compares it with what the path names now, and whoever is about to write does so again.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from typing import TYPE_CHECKING

from storage.backends.backend import Lease
from storage.errors import RunLockedError

if TYPE_CHECKING:
    from pathlib import Path

LOCK_NAME = "lock"

# lock_holder() takes the lock for a moment: an owner who meets a reader there tries again.
_ATTEMPTS = 20
_PAUSE_S = 0.01


class HeldError(Exception):
    """A file is locked; the text is who has it."""


class FileLease(Lease):
    """The held lease of one run folder; `since_ns` is when it was taken, as a time of files."""

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
                f"run {folder.name} is being written by {err}; wait for it, or end that process "
                f"and use `gfjobs resume {folder.name}`"
            ) from err
        # By the clock of the file system, as of all other files in the folder.
        self.since_ns = os.fstat(self._handle).st_mtime_ns

    @property
    def is_held(self) -> bool:
        """Whether this object still holds the lease."""
        return self._handle >= 0

    def confirm(self) -> None:
        """See that the locked file still has its name: nothing else can take a lock over.

        Raises: RunLockedError: the run's folder was removed or replaced by hand.
        """
        if self._handle >= 0 and not _is_named(self._handle, self._path):
            raise RunLockedError(
                f"the lock of run {self._path.parent.name} ({self._path}) was removed or replaced "
                "while it was held, so another process may be writing a run of that name; this "
                "process writes nothing more"
            )

    def release(self) -> None:
        """Give the lease back; a second call does nothing."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


def lease_holder(folder: Path) -> str | None:
    """Say which process holds the lease of a run folder; None where none does."""
    return lock_holder(folder / LOCK_NAME)


def take_lock(path: Path) -> int:
    """Lock a file, which is made if need be; closing the handle gives it back.

    Raises:
        HeldError: another process (or another handle of this one) has it.
        FileNotFoundError: there is no folder for it.
        OSError: the file cannot be opened.
    """
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
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
        os.close(handle)  # the lock of a file that was removed meanwhile keeps nobody out


def lock_holder(path: Path) -> str | None:
    """Say which process has locked a file; None where none has."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
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
    """Whether the path names the open file."""
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))  # noqa: PTH116 (beside fstat)
    except FileNotFoundError:
        return False


def _owner(handle: int) -> str:
    try:
        owner = json.loads(os.pread(handle, 4096, 0))
        return f"process {owner['pid']} on {owner['host']}"
    except (ValueError, KeyError, TypeError):
        return "another process"
