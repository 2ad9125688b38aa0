"""The lease of a run on a file system: one process writes a run, and its death frees it.

An exclusive `flock` on `<run>/lock`. The kernel drops it with the process, however that ends.
The file says who holds it, for messages only; it is never deleted, since two processes could
then lock two files of one name.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from typing import TYPE_CHECKING

from storage.errors import RunLockedError
from storage.places.place import Lease

if TYPE_CHECKING:
    from pathlib import Path

LOCK_NAME = "lock"

# is_locked() takes the lock for a moment: an owner who meets a reader there tries again.
_ATTEMPTS = 20
_PAUSE_S = 0.01


class FileLease(Lease):
    """The held lease of one run folder."""

    def __init__(self, folder: Path) -> None:
        """Take the lease.

        Raises:
            RunLockedError: another process (or another object of this one) holds it.
            OSError: the lock file cannot be opened.
        """
        self._handle = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            self._take(folder)
        except BaseException:
            os.close(self._handle)
            raise

    def _take(self, folder: Path) -> None:
        for attempt in range(_ATTEMPTS):
            if attempt:
                time.sleep(_PAUSE_S)
            try:
                fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            os.ftruncate(self._handle, 0)
            owner = {"pid": os.getpid(), "host": socket.gethostname()}
            os.pwrite(self._handle, json.dumps(owner).encode(), 0)
            return
        raise RunLockedError(
            f"run {folder.name} is being written by {_owner(self._handle)}; wait until it ends, "
            "wait for it, or end that process and use `gfjobs resume "
            f"{folder.name}`"
        )

    @property
    def is_held(self) -> bool:
        """Whether this object still holds the lease."""
        return self._handle >= 0

    def confirm(self) -> None:
        """Nothing to do: nobody can take a lock over."""

    def release(self) -> None:
        """Give the lease back; a second call does nothing."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


def is_locked(folder: Path) -> bool:
    """Tell whether some process holds the lease of a run folder."""
    try:
        handle = os.open(folder / LOCK_NAME, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def _owner(handle: int) -> str:
    try:
        owner = json.loads(os.pread(handle, 4096, 0))
        return f"process {owner['pid']} on {owner['host']}"
    except (ValueError, KeyError, TypeError):
        return "another process"
