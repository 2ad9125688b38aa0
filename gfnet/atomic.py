"""Files that are replaced whole: whatever is killed, a reader sees the old content or the new."""

from __future__ import annotations

import os
from pathlib import Path


def replace_file(path: Path, data: bytes | memoryview) -> None:
    """Write a file in one step; nothing is left of an attempt that fails.

    Raises:
        OSError: it cannot be written; what was there still stands.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
