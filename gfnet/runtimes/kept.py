"""Keeps exported graphs on disk, so that the next process need not export them again.

So may others keep what takes long to make, in a folder of their own.

Apart from checkpoints and the state of a training, gfnet writes no other files. A problem with the
folder or its content is not an error: the graph is made again, and written again if possible.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from gfnet.atomic import replace_file

MOST_BYTES = 2**30
"""Limit of a folder; a stage of a large model has some 100 MB."""

_SUM_BYTES = hashlib.sha256().digest_size


def kept(key: str, make: Callable[[], bytes], folder_name: str = "graphs") -> bytes:
    """Return what any process kept under a key, or else make and keep it.

    Args:
        key: names a file; a digest of all that determines a graph.
        make: called if nothing intact is kept.
        folder_name: the folder of the cache.
    """
    folder = kept_folder(folder_name)
    if folder is None:
        return make()
    path = folder / key
    with suppress(OSError):
        content = path.read_bytes()
        data = content[_SUM_BYTES:]
        if content[:_SUM_BYTES] == hashlib.sha256(data).digest():
            with suppress(OSError):
                os.utime(path)  # the least recently used is removed first
            return data
    data = make()
    if len(data) > MOST_BYTES:
        return data
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        replace_file(path, hashlib.sha256(data).digest() + data)
        _drop_oldest(folder)
    return data


def kept_folder(name: str) -> Path | None:
    """Return a folder below $GFJOBS_CACHE, $XDG_CACHE_HOME/gfjobs or ~/.cache/gfjobs.

    Returns: None if there is no home directory either.
    """
    if given := os.environ.get("GFJOBS_CACHE"):
        return Path(given) / name
    if general := os.environ.get("XDG_CACHE_HOME"):
        return Path(general) / "gfjobs" / name
    with suppress(RuntimeError):
        return Path.home() / ".cache" / "gfjobs" / name
    return None


def graph_folder() -> Path | None:
    """Return the folder of graphs, as `kept_folder` does."""
    return kept_folder("graphs")


def _drop_oldest(folder: Path) -> None:
    """Remove the oldest files, also those of killed processes, down to MOST_BYTES in all."""
    files = [(file.stat(), file) for file in folder.iterdir()]
    files.sort(key=lambda found: found[0].st_mtime_ns, reverse=True)
    total_bytes = 0
    for state, file in files:
        total_bytes += state.st_size
        if total_bytes > MOST_BYTES:
            file.unlink(missing_ok=True)
