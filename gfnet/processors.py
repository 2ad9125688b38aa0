"""How many processors this process may use: by its affinity, and by the limit of its container."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

ROOT = Path("/")
"""Root of the kernel's files; a made-up tree in tests."""

_MOUNT = "sys/fs/cgroup"
_CONTROLLER = "cpu"


def usable_processors() -> int:
    """The number of threads that can run at once: more would wait for each other."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, int(min(allowed or 1, processor_quota())))


def processor_quota(root: Path = ROOT) -> float:
    """The processors' time that this process's control groups grant it per second; inf: no limit.

    Containers and services are limited so (`docker --cpus`, Kubernetes' limits, `CPUQuota`), and
    still see all processors. The lowest limit of a group and those above it holds.
    """
    return min(_limits(root), default=math.inf)


def _limits(root: Path) -> Iterator[float]:
    text = ""
    with suppress(OSError):
        text = (root / "proc/self/cgroup").read_text()
    for line in text.splitlines():
        _, controllers, group = line.split(":", 2)
        if controllers and _CONTROLLER not in controllers.split(","):
            continue
        top = root / _MOUNT / controllers if controllers else root / _MOUNT
        below = Path(group.lstrip("/"))
        for folder in dict.fromkeys((below, *below.parents)):
            with suppress(OSError, ValueError, ZeroDivisionError):
                yield _limit(top / folder, is_version_1=bool(controllers))


def _limit(folder: Path, *, is_version_1: bool) -> float:
    """The limit of one control group.

    Raises:
        OSError, ValueError: it has none.
    """
    if is_version_1:
        files = (folder / "cpu.cfs_quota_us", folder / "cpu.cfs_period_us")
        quota, period = (int(file.read_text()) for file in files)
        if quota < 0:
            raise ValueError(folder)
        return quota / period
    quota_us, period_us = map(int, (folder / "cpu.max").read_text().split())  # "max": no number
    return quota_us / period_us
