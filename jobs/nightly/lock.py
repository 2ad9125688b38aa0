"""One process at a time: locks beside the ledger that die with their process."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import storage
from jobs.common.errors import UsageError

if TYPE_CHECKING:
    from typing_extensions import Self


class BusyError(UsageError):
    """Another process is at it."""


class Lock:
    """For a `with`: of the daemon, or of the one night that runs.

    Args:
        path: of the file, which stays.
        refusal: what is said where another process, `{owner}`, holds it.
    """

    def __init__(self, path: Path, refusal: str) -> None:
        self._path, self._refusal = path, refusal

    def __enter__(self) -> Self:
        """Take it.

        Raises:
            BusyError: another process has it.
            UsageError: there can be no such file.
        """
        try:
            self._handle = storage.take_lock(self._path)
        except storage.HeldError as err:
            raise BusyError(self._refusal.format(owner=err)) from err
        except OSError as err:
            raise UsageError(f"{self._path} cannot be locked: {err.strerror}") from err
        return self

    def __exit__(self, *_: object) -> None:
        """Give it back."""
        os.close(self._handle)
