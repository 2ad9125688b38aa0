"""A file that several threads read at once, each at its own position.

DuckDB's threads share one handle of a registered file system, and each seeks before it reads
(seen with 2.0.1). With one shared position, a thread would read where another one sought: errors,
or silently wrong bytes.
"""

from __future__ import annotations

import errno
import io
import os
import stat
import threading
from abc import abstractmethod
from typing import TYPE_CHECKING

from storage.errors import DamagedError

if TYPE_CHECKING:
    from pathlib import Path


class BackendFile(io.RawIOBase):
    """A file open for reading; a subclass implements `read_at`.

    Args:
        size_bytes: size of the file.
    """

    def __init__(self, size_bytes: int) -> None:
        super().__init__()
        self.size_bytes = size_bytes
        self._of_thread = threading.local()

    @abstractmethod
    def read_at(self, position: int, size: int) -> bytes:
        """Read `size` bytes at a position; the range lies within the file."""

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position of this thread."""
        position: int = getattr(self._of_thread, "position", 0)
        return position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move the position of this thread."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self.tell(), io.SEEK_END: self.size_bytes}[whence]
        self._of_thread.position = start + offset
        return start + offset

    def read(self, size: int | None = -1) -> bytes:
        """Read from the position of this thread, to the end if no size is given."""
        position = self.tell()
        rest = max(0, self.size_bytes - position)
        wanted = rest if size is None or size < 0 else min(size, rest)
        content = self.read_at(position, wanted) if wanted else b""
        self._of_thread.position = position + len(content)
        return content

    def readall(self) -> bytes:
        """Read to the end."""
        return self.read()


class NotAFileError(DamagedError, OSError):
    """Something else lies where results have a file; the message says what."""


def open_regular(path: Path, flags: int = os.O_RDONLY) -> int:
    """Open a regular file; no link is followed, and no pipe or device is waited for.

    Raises:
        FileNotFoundError: there is none.
        NotAFileError: it is a link, a pipe or a device.
        OSError: it cannot be opened.
    """
    try:
        handle = os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644)
    except OSError as err:
        if err.errno == errno.ELOOP or path.is_symlink():
            raise NotAFileError(f"{path} is a symbolic link, which results do not follow") from err
        raise
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise NotAFileError(f"{path} is not a regular file")
    return handle


class LocalFile(BackendFile):
    """A file of a file system."""

    def __init__(self, path: Path) -> None:
        self._handle = open_regular(path)
        super().__init__(os.fstat(self._handle).st_size)

    def read_at(self, position: int, size: int) -> bytes:
        """Read `size` bytes; the kernel may return fewer per call."""
        content = os.pread(self._handle, size, position)
        while len(content) < size:
            more = os.pread(self._handle, size - len(content), position + len(content))
            if not more:
                break
            content += more
        return content

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        if not self.closed:
            os.close(self._handle)
        super().close()
