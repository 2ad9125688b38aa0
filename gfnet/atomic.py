"""Replaces files whole: even if the writer is killed, a reader sees the old or the new content."""

from __future__ import annotations

import contextlib
import os
import re
import socket
from pathlib import Path

_HOST = re.sub(r"[^a-zA-Z0-9-]", "-", socket.gethostname())


def replace_file(path: Path, data: bytes | memoryview) -> None:
    """Write a file in one step; remove temporary files of failed and earlier killed attempts.

    For a link, the file it points at is replaced. A pipe or a device is written to.

    Raises:
        OSError: it cannot be written; the previous content is kept.
    """
    path = Path(os.path.realpath(path))
    if path.exists() and not path.is_file():
        path.write_bytes(data)
        return
    _clear_after_the_dead(path)
    temporary = path.with_name(f".{path.name}.{_HOST}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _clear_after_the_dead(path: Path) -> None:
    """Remove temporary files of killed processes of this host; those of other hosts stay."""
    pattern = re.compile(rf"\.{re.escape(path.name)}\.{re.escape(_HOST)}\.(\d+)\.tmp")
    with contextlib.suppress(OSError):  # the write reports what is wrong
        for each in path.parent.iterdir():
            found = pattern.fullmatch(each.name)
            if found and not _is_alive(int(found[1])):
                each.unlink(missing_ok=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's process
        pass
    return True
