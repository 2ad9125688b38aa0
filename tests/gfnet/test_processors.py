"""The limits of control groups, in trees as containers, services and older kernels have them."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from gfnet import processors
from gfnet.processors import processor_quota, usable_processors

CGROUP = "sys/fs/cgroup"


@pytest.mark.parametrize(
    ("own", "files", "quota"),
    [
        ("0::/", {"cpu.max": "150000 100000"}, 1.5),  # inside a container
        ("0::/", {"cpu.max": "max 100000"}, math.inf),
        ("0::/", {}, math.inf),
        ("0::/a/b", {"a/cpu.max": "200000 100000", "a/b/cpu.max": "max 100000"}, 2.0),
        ("0::/a/b", {"a/cpu.max": "50000 100000", "a/b/cpu.max": "100000 100000"}, 0.5),
        ("0::/../x", {"cpu.max": "100000 100000"}, 1.0),  # from outside the namespace
        (
            "4:memory:/m\n3:cpu,cpuacct:/d\n0::/",
            {
                "cpu,cpuacct/d/cpu.cfs_quota_us": "300000",
                "cpu,cpuacct/d/cpu.cfs_period_us": "100000",
            },
            3.0,
        ),
        ("1:cpu:/", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, math.inf),
        ("1:cpuset:/", {"cpuset/cpu.max": "1 1"}, math.inf),
        ("0::/", {"cpu.max": "1 0"}, math.inf),
        ("0::/", {"cpu.max": "no numbers"}, math.inf),
    ],
)
def test_limits(tmp_path: Path, own: str, files: Mapping[str, str], quota: float) -> None:
    """The lowest of a group and those above it; what is not there, or no number, limits nothing."""
    for name, text in (
        {f"{CGROUP}/{n}": t for n, t in files.items()} | {"proc/self/cgroup": own}
    ).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    assert processor_quota(tmp_path) == quota


def test_no_control_groups(tmp_path: Path) -> None:
    """As on macOS."""
    assert processor_quota(tmp_path) == math.inf


@pytest.mark.parametrize(
    ("quota", "threads"), [(0.5, 1), (1.0, 1), (2.9, 2), (math.inf, 4), (9, 4)]
)
def test_threads_that_can_run_at_once(
    monkeypatch: pytest.MonkeyPatch, quota: float, threads: int
) -> None:
    """Whole processors, at least one, and no more than the affinity allows."""
    monkeypatch.setattr(processors, "processor_quota", lambda: quota)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(4)), raising=False)
    assert usable_processors() == threads
