"""CPU pinning: limits this process to the number of processors of a timed task, and undoes it.

Linux sets affinity per thread, not per process, and a new thread inherits it from the thread that
started it. So all existing threads are pinned, including the thread pools of engines, and each
gets its own affinity back.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from gfnet.processors import processor_quota

ROOT = Path("/")
"""Root of the kernel's files on processors; a made-up tree in tests."""

_THREADS = Path("/proc/self/task")

Processors = frozenset[int]


@contextmanager
def pin_threads(threads: int) -> Iterator[str]:
    """Keep every thread of this process on that many processors while the body runs.

    Load the engine first: OpenVINO counts the processors once, when it starts, and would be limited
    to these for good.

    Args:
        threads: CPU threads; 0 changes nothing.

    Yields: why the threads are not on that many processors; empty if they are.
    """
    if not threads:
        yield _limit(1)
        return
    if not hasattr(os, "sched_setaffinity") or not _THREADS.is_dir():
        yield "threads are not pinned: this system cannot restrict threads to processors"
        return
    allowed = _read_affinity(0)
    # Read all before moving any: a thread that starts meanwhile may have inherited the new set.
    before = {thread: _read_affinity(thread) for thread in _all_threads()}
    try:
        yield _pin(choose_processors(threads, allowed)) or _shortage(threads, allowed)
    finally:
        for thread in _all_threads():
            with suppress(OSError):  # one failure must not leave the others pinned
                os.sched_setaffinity(thread, before.get(thread) or allowed)


def choose_processors(threads: int, allowed: Collection[int], root: Path = ROOT) -> Processors:
    """Returns the processors for a number of threads: always the same, so that cells compare.

    One processor per core before a second of any core; fast cores before slow ones, if the kernel
    reports clocks; and high numbers before low ones, since most interrupts go to the first.

    Args:
        threads: how many, at least one; if more than are allowed, all of them are returned.
        allowed: the processors that this process may use.
        root: root of the kernel's files.
    """

    def rank(processor: int) -> tuple[int, int, int]:
        folder = root / f"sys/devices/system/cpu/cpu{processor}"
        core = _numbers(folder / "topology/thread_siblings_list") & set(allowed)
        taken_before = sum(sibling > processor for sibling in core)
        return taken_before, -_khz(folder / "cpufreq/cpuinfo_max_freq"), -processor

    return frozenset(sorted(allowed, key=rank)[:threads])


def _shortage(threads: int, allowed: Processors) -> str:
    if limit := _limit(min(threads, len(allowed))):
        return limit
    if threads <= len(allowed):
        return ""
    count = len(allowed)
    has = f"{count} processor{'s' if count > 1 else ''}"
    return f"{threads} threads share {has}: this process may use no more"


def _limit(processors: int) -> str:
    """Returns the note if the control group grants less than this many processors' time."""
    if (quota := processor_quota()) >= processors:
        return ""
    return (
        f"the limit of this container or service (cgroup) is the time of {quota:g}"
        f" processor{'' if quota == 1 else 's'}, and its threads are stopped when it is used up"
    )


def _pin(processors: Processors) -> str:
    """Move all threads there; returns why the system refused, or an empty string."""
    try:
        for thread in _all_threads():
            with suppress(ProcessLookupError):  # the thread has ended
                os.sched_setaffinity(thread, processors)
    except OSError as err:
        return f"threads are not pinned: {err.strerror}"
    return ""


def _read_affinity(thread: int) -> Processors:
    """The processors a thread may run on (0: the current thread); empty if it has ended."""
    with suppress(ProcessLookupError):
        return frozenset(os.sched_getaffinity(thread))
    return frozenset()


def _all_threads() -> Iterator[int]:
    """Yields the threads of this process, including any that start during the iteration."""
    seen: set[int] = set()
    while new := {int(thread.name) for thread in _THREADS.iterdir()} - seen:
        yield from new
        seen |= new


def _numbers(file: Path) -> set[int]:
    """The processors in a kernel list such as `0-2,5`; empty if there is no such file."""
    numbers: set[int] = set()
    with suppress(OSError, ValueError):
        for part in file.read_text().strip().split(","):
            first, _, last = part.partition("-")
            numbers |= set(range(int(first), int(last or first) + 1))
    return numbers


def _khz(file: Path) -> int:
    """The highest clock of a processor, in kHz; 0 if the kernel does not report it."""
    with suppress(OSError, ValueError):
        return int(file.read_text())
    return 0
