"""Processor time of all and of this process: psutil itself, and doubles."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import psutil

from jobs.machine import load


def test_busy_time_is_what_was_not_idle() -> None:
    """Waiting for a disk is idle; a guest's time stands in its user's already."""
    times = {"user": 5.0, "system": 2.0, "idle": 90.0, "iowait": 3.0, "steal": 1.0, "guest": 4.0}
    system = SimpleNamespace(cpu_times=lambda: SimpleNamespace(_asdict=lambda: times))
    assert load.busy_s(system) == 8
    assert load.busy_s(psutil) > 0


def test_own_time_is_that_of_the_process_tree() -> None:
    """This process's, grown by what it just did, and no double count of one that has ended."""
    before, began = load.own_s(psutil), time.process_time()
    while time.process_time() - began < 0.05:
        pass
    assert 0.03 < load.own_s(psutil) - before < 5

    def used(seconds: float) -> Any:
        return SimpleNamespace(user=seconds, system=0.0, children_user=1.0, children_system=0.0)

    def gone() -> None:
        raise psutil.NoSuchProcess(1)

    children = [SimpleNamespace(cpu_times=lambda: used(2)), SimpleNamespace(cpu_times=gone)]
    process = SimpleNamespace(cpu_times=lambda: used(4), children=lambda **_: children)
    system = SimpleNamespace(Process=lambda: process, Error=psutil.Error)
    assert load.own_s(system) == 8
