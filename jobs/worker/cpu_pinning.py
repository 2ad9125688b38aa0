"""CPU pinning: this process on as many processors as a timed task was given, and back again.

Linux has no affinity of a process, only of a thread, and a thread starts with that of the one which
made it. Hence all threads there are get it, pools of engines included, and each its own back.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

ROOT = Path("/")
"""Of the files that tell processors apart; a made tree in tests."""

_THREADS = Path("/proc/self/task")

Processors = frozenset[int]


@contextmanager
def pin_threads(threads: int) -> Iterator[str]:
    """Keep every thread of this process on so many processors for as long as the body runs.

    Engines belong before it: OpenVINO counts the processors once, when it starts, and would be left
    with these for good.

    Args:
        threads: of the processor; 0 changes nothing.
        root: where the kernel's files are.

    Yields: why the threads are not on as many processors; empty where they are.
    """
    if not threads:
        yield ""
        return
    if not hasattr(os, "sched_setaffinity") or not _THREADS.is_dir():
        yield "threads are not pinned: this system does not let processors be chosen"
        return
    allowed = _place_of(0)
    # All of them before any is moved: one that begins meanwhile may have inherited its place.
    before = {thread: _place_of(thread) for thread in _all_threads()}
    try:
        yield _pin(choose_processors(threads, allowed)) or _shortage(threads, allowed)
    finally:
        for thread in _all_threads():
            with suppress(OSError):  # none is left pinned for another's sake
                os.sched_setaffinity(thread, before.get(thread) or allowed)


def choose_processors(threads: int, allowed: Collection[int], root: Path = ROOT) -> Processors:
    """The processors for so many threads: always the same, so that cells can be compared.

    One of each core before a second one of any; fast cores before slow ones where the kernel tells
    them apart; and high numbers before low ones, since most interrupts go to the first.

    Args:
        threads: how many, at least one; more than are allowed is all of them.
        allowed: the processors that this process may use.
        root: where the kernel's files are.
    """

    def rank(processor: int) -> tuple[int, int, int]:
        folder = root / f"sys/devices/system/cpu/cpu{processor}"
        core = _numbers(folder / "topology/thread_siblings_list") & set(allowed)
        taken_before = sum(sibling > processor for sibling in core)
        return taken_before, -_khz(folder / "cpufreq/cpuinfo_max_freq"), -processor

    return frozenset(sorted(allowed, key=rank)[:threads])


def _shortage(threads: int, allowed: Processors) -> str:
    if threads <= len(allowed):
        return ""
    count = len(allowed)
    has = f"{count} processor{'s' if count > 1 else ''}"
    return f"{threads} threads share {has}: this process may use no more"


def _pin(processors: Processors) -> str:
    """Put all threads there; say why where the system refuses."""
    try:
        for thread in _all_threads():
            with suppress(ProcessLookupError):  # it has ended since
                os.sched_setaffinity(thread, processors)
    except OSError as err:
        return f"threads are not pinned: {err.strerror}"
    return ""


def _place_of(thread: int) -> Processors:
    """Where a thread may run, 0 being this one; nowhere where it has ended."""
    with suppress(ProcessLookupError):
        return frozenset(os.sched_getaffinity(thread))
    return frozenset()


def _all_threads() -> Iterator[int]:
    """This process's, and those that begin while they are gone through."""
    seen: set[int] = set()
    while new := {int(thread.name) for thread in _THREADS.iterdir()} - seen:
        yield from new
        seen |= new


def _numbers(file: Path) -> set[int]:
    """The processors of a kernel's list such as `0-2,5`; empty where there is none."""
    numbers: set[int] = set()
    with suppress(OSError, ValueError):
        for part in file.read_text().strip().split(","):
            first, _, last = part.partition("-")
            numbers |= set(range(int(first), int(last or first) + 1))
    return numbers


def _khz(file: Path) -> int:
    """The highest clock of a processor; 0 where the kernel does not say."""
    with suppress(OSError, ValueError):
        return int(file.read_text())
    return 0
