"""Digests of files, cached by the files' state in the file system, so that no file is read twice.

A cached digest is valid while path, size, inode, time of change (mtime) and time of change of the
inode (ctime) of every file are unchanged. ctime cannot be set back, so a file of the same size
whose mtime was restored is noticed. If a file changed less than two seconds before it was looked
at, its digest is not cached: another change in the same clock tick would leave no trace.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from storage.images.cache import Unpublished, cache_subfolder, drop_oldest

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

FOLDER = "digests"
SETTLED_NS = 2 * 10**9
"""Time since the last change; the coarsest file system clock, FAT's, ticks every two seconds."""

MIN_BYTES = 1 << 20
"""Least size of all files together; reading less is faster than caching its digest."""

MOST_DIGESTS = 1000
_MOST_BYTES = MOST_DIGESTS * 4096
_FORMAT = 1


@dataclass(frozen=True)
class FileState:
    """The state of some files in the file system at one moment.

    Attributes:
        text: digest of names, sizes, inodes and times; equal if nothing has changed.
        size_bytes: size of all files together.
        age_ns: time since the last change; negative if that is in the future.
    """

    text: str
    size_bytes: int = field(compare=False)
    age_ns: int = field(compare=False)

    @property
    def is_large(self) -> bool:
        """Whether caching the digest is worth it."""
        return self.size_bytes >= MIN_BYTES

    @property
    def is_settled(self) -> bool:
        """Whether any later change will be visible."""
        return self.age_ns > SETTLED_NS


def state_of_files(files: Iterable[tuple[str, os.stat_result]], salt: str = "") -> FileState:
    """Return the state of files.

    Args:
        files: name and `os.stat` result of each, in an order that is always the same.
        salt: what else the digest depends on.
    """
    looked_ns = time.time_ns()
    digest = hashlib.sha256(os.fsencode(salt))
    size_bytes = changed_ns = 0
    for name, found in files:
        numbers = (found.st_size, found.st_ino, found.st_mtime_ns, found.st_ctime_ns)
        digest.update(os.fsencode(f"\0{name}\0{numbers}"))
        size_bytes += found.st_size
        changed_ns = max(changed_ns, found.st_mtime_ns, found.st_ctime_ns)
    return FileState(digest.hexdigest(), size_bytes, looked_ns - changed_ns)


def state_of_file(path: Path) -> FileState:
    """Return the state of one file; for a link, that of its target.

    Raises: OSError: the file does not exist.
    """
    return state_of_files([("", path.stat())])


def state_of_folder(path: Path) -> FileState:
    """Return the state of all files of a folder; of a link in it, its own; not of its folders.

    Raises: OSError: the folder does not exist, or cannot be listed.
    """
    with os.scandir(path) as entries:
        files = [each for each in entries if not each.is_dir(follow_symlinks=False)]
        states = [(each.name, each.stat(follow_symlinks=False)) for each in files]
    return state_of_files(sorted(states, key=lambda state: state[0]))


def known_digest(what: str, path: Path, state: FileState) -> str | None:
    """Return the cached digest of this state; None if there is none.

    Args:
        what: kind of digest.
        path: that of the file or folder.
        state: that of its files, from before any of them was read.
    """
    folder = cache_subfolder(FOLDER)
    if folder is None or not state.is_large:
        return None
    file = folder / _name(what, path)
    try:
        entry = json.loads(file.read_bytes())
        digest = str(entry["digest"])
        is_known = entry["state"] == state.text and entry["check"] == _check(state.text, digest)
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None  # missing or damaged
    if not is_known:
        return None
    with contextlib.suppress(OSError):
        os.utime(file)  # the least recently used is removed first
    return digest


def keep_digest(what: str, path: Path, state: FileState, digest: str) -> None:
    """Cache a digest, if the state of its files is settled and they are large enough.

    Args:
        what: kind of digest.
        path: that of the file or folder.
        state: that of its files, the same before the first was read and after the last was.
        digest: that of the content read.
    """
    folder = cache_subfolder(FOLDER)
    if folder is None or not (state.is_large and state.is_settled):
        return
    entry = {"state": state.text, "digest": digest, "check": _check(state.text, digest)}
    with contextlib.suppress(OSError), Unpublished(folder) as unpublished:
        unpublished.file.write(json.dumps(entry).encode())
        unpublished.publish(_name(what, path))
        drop_oldest(folder, _MOST_BYTES, MOST_DIGESTS)


def _name(what: str, path: Path) -> str:
    """Return a file name: one per path, so that a new state replaces the old one."""
    return hashlib.sha256(os.fsencode(f"{_FORMAT}\0{what}\0{path.absolute()}")).hexdigest()


def _check(state: str, digest: str) -> str:
    return hashlib.sha256(f"{state} {digest}".encode()).hexdigest()
