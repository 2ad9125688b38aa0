"""Text files that users name: read whole, if they are regular files and not too large."""

from __future__ import annotations

import codecs
import errno
import os
import stat
from pathlib import Path


def read_regular(path: Path, most_bytes: int) -> str:
    """Return the text of a file, without a byte-order mark.

    Raises:
        OSError: it cannot be read, is a pipe or a device, which would be waited for or read without
            end, or is too large; `strerror` says which.
        UnicodeDecodeError: it is not UTF-8.
    """
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with open(handle, "rb") as file:  # noqa: PTH123 - a handle
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        data = file.read(most_bytes + 1)
    if len(data) > most_bytes:
        raise OSError(errno.EFBIG, f"more than {most_bytes:,} bytes", str(path))
    return data.decode("utf-8-sig")


def describe_undecodable(err: UnicodeDecodeError) -> str:
    """Say what a file is that was read as UTF-8 and is not, and what to do if that is known."""
    if err.object.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "text in UTF-16, as PowerShell writes it: save it as UTF-8"
    return f"not UTF-8 text: {err.reason}"
