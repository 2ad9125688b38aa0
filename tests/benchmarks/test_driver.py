"""The driver's benchmark: whole, at a size for tests."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest


def test_it_shows_what_a_task_takes(printed: Callable[..., str]) -> None:
    """A line for each size, whose parts add up, and how the largest compares with the smallest."""
    text = printed("driver", "--tasks", "80", "40")
    _, heads, *lines, most, end = text.splitlines()
    assert heads.split()[:2] == ["tasks", "cells"]
    figures = [[float(figure) for figure in line.split()] for line in lines]
    assert [(line[0], line[1]) for line in figures] == [(40, 8), (80, 16)]
    for _, _, whole, *parts, _cpu, _added, memory, merge in figures:
        assert whole == pytest.approx(sum(parts), abs=0.03)
        assert all(part >= 0 for part in parts)
        assert min(memory, merge) > 0
    assert most.startswith("at most ")
    assert most.endswith(" ms per task; aim 5")
    assert end.startswith("80 over 40 tasks, per task: time ")
    assert end.endswith("; aim 1.3")


def test_time_per_task_is_compared(script: Callable[[str], ModuleType]) -> None:
    """By hand: 2 s for 1,000 tasks are 2 ms; 12 s for 4,000 are 3 ms, half as much again."""
    module = script("driver")
    first = module.Taken(tasks=1_000, cells=1, wall_s=2.0)
    last = module.Taken(tasks=4_000, cells=1, wall_s=12.0)
    assert module.ratio(first, last, lambda taken: taken.wall_s) == pytest.approx(1.5)
