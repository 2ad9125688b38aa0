"""Files that are replaced whole: whatever is killed, a reader sees the old content or the new."""

from __future__ import annotations

import contextlib
import os
import re
import socket
from pathlib import Path

_HOST = re.sub(r"[^a-zA-Z0-9-]", "-", socket.gethostname())


def replace_file(path: Path, data: bytes | memoryview) -> None:
    """Write a file in one step; nothing is left of an attempt that fails, nor of one long killed.

    What a link points at is replaced, not the link. A pipe or a device is written to.

    Raises:
        OSError: it cannot be written; what was there still stands.
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
    """Remove what processes of this host left when they were killed; of others nobody can tell."""
    pattern = re.compile(rf"\.{re.escape(path.name)}\.{re.escape(_HOST)}\.(\d+)\.tmp")
    with contextlib.suppress(OSError):  # it is the writing that says what is wrong
        for each in path.parent.iterdir():
            found = pattern.fullmatch(each.name)
            if found and not _is_alive(int(found[1])):
                each.unlink(missing_ok=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        pass
    return True
