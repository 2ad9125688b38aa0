"""Locks next to the ledger, each held by one process at a time and released when it ends."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import storage
from jobs.common.errors import UsageError

if TYPE_CHECKING:
    from typing_extensions import Self


class BusyError(UsageError):
    """Another process holds the lock."""


class Lock:
    """A context manager that holds the lock of the daemon, or of the one running night.

    Args:
        path: path of the lock file, which is never removed.
        refusal: error message if another process, `{owner}`, holds the lock.
    """

    def __init__(self, path: Path, refusal: str) -> None:
        self._path, self._refusal = path, refusal

    def __enter__(self) -> Self:
        """Take the lock.

        Raises:
            BusyError: another process holds it.
            UsageError: the file cannot be created or locked.
        """
        try:
            self._handle = storage.take_lock(self._path)
        except storage.HeldError as err:
            raise BusyError(self._refusal.format(owner=err)) from err
        except OSError as err:
            raise UsageError(f"{self._path} cannot be locked: {err.strerror}") from err
        return self

    def __exit__(self, *_: object) -> None:
        """Release the lock."""
        os.close(self._handle)
