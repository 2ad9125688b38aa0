"""The user's cache folder: its files save time, and may be deleted at any time.

A problem with the cache is never an error for its users: what cannot be kept is made again.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from storage.backends import TEMPORARY_PREFIX

if TYPE_CHECKING:
    from typing import BinaryIO

    from typing_extensions import Self

CACHE_VARIABLE = "GFJOBS_CACHE"
GENERAL_VARIABLE = "XDG_CACHE_HOME"

_BUFFER_BYTES = 1 << 20
_DIGEST = re.compile(r"[0-9a-f]{64}")
"""The form of file names in the cache."""


def cache_subfolder(name: str) -> Path | None:
    """Return a folder below $GFJOBS_CACHE, $XDG_CACHE_HOME/gfjobs or ~/.cache/gfjobs.

    Returns: None if neither variable is set and there is no home folder.
    """
    if given := os.environ.get(CACHE_VARIABLE):
        return Path(given) / name
    if general := os.environ.get(GENERAL_VARIABLE):
        return Path(general) / "gfjobs" / name
    with contextlib.suppress(RuntimeError):
        return Path.home() / ".cache" / "gfjobs" / name
    return None


class Unpublished:
    """A file of the cache that no reader sees until it is published; only its user may read it.

    A context manager: a file that is not published is removed. The file is locked while it is
    written, which distinguishes a leftover of a killed process from a file being written.
    """

    def __init__(self, folder: Path) -> None:
        """Open a new file.

        Raises: OSError: it cannot be written.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / f"{TEMPORARY_PREFIX}{uuid.uuid4().hex}"
        handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        self._file = os.fdopen(handle, "wb", _BUFFER_BYTES)
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    @property
    def file(self) -> BinaryIO:
        """The open file, to write to."""
        return self._file

    def publish(self, name: str) -> None:
        """Rename it to its final name; a file of that name is replaced in one step.

        It is not flushed to the disk: after a crash, readers detect a damaged file by checksums.

        Raises: OSError: it cannot be written completely.
        """
        self._file.flush()
        self._path.replace(self._path.with_name(name))

    def __enter__(self) -> Self:
        """Return the file, which is open already."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it, and remove it unless it was published."""
        with contextlib.suppress(OSError):  # the disk may be full
            self._file.close()
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)


def drop_oldest(folder: Path, most_bytes: int, most_files: int) -> None:
    """Remove the least recently used files until the rest is within both limits.

    The newest file stays, whatever its size. Leftovers of killed processes are removed too. Files
    whose names are not digests are not ours, since the user chooses the folder, and stay.
    """
    with contextlib.suppress(OSError):
        files = []
        for file in folder.iterdir():
            if file.name.startswith(TEMPORARY_PREFIX):
                if _is_abandoned(file):
                    file.unlink(missing_ok=True)
            elif _DIGEST.fullmatch(file.name):
                with contextlib.suppress(FileNotFoundError):  # another process has removed it
                    files.append((file.stat(), file))
        files.sort(key=lambda found: found[0].st_mtime_ns, reverse=True)
        total_bytes = 0
        for place, (state, file) in enumerate(files):
            total_bytes += state.st_size
            if place and (total_bytes > most_bytes or place >= most_files):
                file.unlink(missing_ok=True)


def _is_abandoned(file: Path) -> bool:
    """Whether no process holds the lock of a file that was never published."""
    with contextlib.suppress(OSError), file.open("rb") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False
