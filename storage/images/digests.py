"""Digests of files, remembered by what the file system says of them: nothing is read twice.

A digest is known while path, size, inode, time of change (mtime) and time of change of the inode
(ctime) of every file are what they were. ctime cannot be set back: a file of the same size whose
mtime was restored is noticed. A file that changed within two seconds before it was looked at is not
remembered, since another change in the same tick of its clock would leave no trace.
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
"""Since the last change; the coarsest clock of a file system, FAT's, ticks every two seconds."""

MIN_BYTES = 1 << 20
"""Of the files in all; what is smaller is read faster than it is remembered."""

MOST_DIGESTS = 1000
_MOST_BYTES = MOST_DIGESTS * 4096
_FORMAT = 1


@dataclass(frozen=True)
class FileState:
    """What the file system says of some files at one moment.

    Attributes:
        text: digest of names, sizes, inodes and times; equal where nothing has changed.
        size_bytes: of all files together.
        age_ns: time since the last change; negative where that is in the future.
    """

    text: str
    size_bytes: int = field(compare=False)
    age_ns: int = field(compare=False)

    @property
    def is_large(self) -> bool:
        """Whether remembering is worth it."""
        return self.size_bytes >= MIN_BYTES

    @property
    def is_settled(self) -> bool:
        """Whether any later change will show."""
        return self.age_ns > SETTLED_NS


def state_of_files(files: Iterable[tuple[str, os.stat_result]], salt: str = "") -> FileState:
    """The state of files, each with its name and what `os.stat` said of it.

    Args:
        files: in an order that is always the same.
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
    """The state of one file; of a link, that of the file it leads to.

    Raises: OSError: it is not there.
    """
    return state_of_files([("", path.stat())])


def known_digest(what: str, path: Path, state: FileState) -> str | None:
    """The digest that was kept of this state; None where there is none.

    Args:
        what: kind of digest.
        path: of the file or folder.
        state: of its files, from before anything of them was read.
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
        return None  # nothing, or damaged
    if not is_known:
        return None
    with contextlib.suppress(OSError):
        os.utime(file)  # the least recently used goes first
    return digest


def keep_digest(what: str, path: Path, state: FileState, digest: str) -> None:
    """Remember a digest, if the state of its files is settled and large enough to be worth it.

    Args:
        what: kind of digest.
        path: of the file or folder.
        state: of its files, the same before anything of them was read and after all was.
        digest: of what was read.
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
    """One file a path: a new state replaces the old one."""
    return hashlib.sha256(os.fsencode(f"{_FORMAT}\0{what}\0{path.absolute()}")).hexdigest()


def _check(state: str, digest: str) -> str:
    return hashlib.sha256(f"{state} {digest}".encode()).hexdigest()
