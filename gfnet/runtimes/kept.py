"""Exported graphs kept on disk, so that the next process need not export them again.

The one place beside checkpoints where gfnet writes a file. Whatever is wrong with the folder or
with what is in it is no error: the graph is made anew, and written again where that is possible.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from gfnet.atomic import replace_file

MOST_BYTES = 2**30
"""Of all graphs together; a stage of a large model has some 100 MB."""

_SUM_BYTES = hashlib.sha256().digest_size


def kept(key: str, make: Callable[[], bytes]) -> bytes:
    """Give what was made under this key, if any process did; else make it, and keep it.

    Args:
        key: digest of all that determines it; names a file.
        make: called where nothing whole is kept.
    """
    folder = graph_folder()
    if folder is None:
        return make()
    path = folder / key
    with suppress(OSError):
        content = path.read_bytes()
        data = content[_SUM_BYTES:]
        if content[:_SUM_BYTES] == hashlib.sha256(data).digest():
            with suppress(OSError):
                os.utime(path)  # the least recently used goes first
            return data
    data = make()
    if len(data) > MOST_BYTES:
        return data
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        replace_file(path, hashlib.sha256(data).digest() + data)
        _drop_oldest(folder)
    return data


def graph_folder() -> Path | None:
    """Where graphs are: below $GFJOBS_CACHE, $XDG_CACHE_HOME/gfjobs, or ~/.cache/gfjobs.

    Returns: None where there is no home either.
    """
    if given := os.environ.get("GFJOBS_CACHE"):
        return Path(given) / "graphs"
    if general := os.environ.get("XDG_CACHE_HOME"):
        return Path(general) / "gfjobs" / "graphs"
    with suppress(RuntimeError):
        return Path.home() / ".cache" / "gfjobs" / "graphs"
    return None


def _drop_oldest(folder: Path) -> None:
    """Remove files, what a killed process left behind included, until the rest has MOST_BYTES."""
    files = [(file.stat(), file) for file in folder.iterdir()]
    files.sort(key=lambda found: found[0].st_mtime_ns, reverse=True)
    total_bytes = 0
    for state, file in files:
        total_bytes += state.st_size
        if total_bytes > MOST_BYTES:
            file.unlink(missing_ok=True)
