"""What is left behind: threads and open files that began inside and have not ended.

Those that were there before do not count: a process of tests has connections and pools of earlier
tests, and they end at any time, whenever the garbage collector comes by.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_OPEN_FILES = Path("/proc/self/fd")


def open_files() -> set[tuple[int, str]]:
    """Number and place of each open file of this process; Linux, proc(5)."""
    found = set()
    for handle in _OPEN_FILES.iterdir():
        with suppress(FileNotFoundError):  # it was closed meanwhile, as the listing's own is
            found.add((int(handle.name), str(handle.readlink())))
    return found


@contextmanager
def no_thread_left() -> Iterator[None]:
    """Fails if a thread of Python's began inside and has not ended."""
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


@contextmanager
def no_file_left() -> Iterator[None]:
    """Fails if a file or socket was opened inside and is not closed."""
    before = open_files()
    yield
    assert open_files() <= before
