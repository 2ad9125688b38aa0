"""The benchmark of many nodes: its ideal by hand. Ray's own cluster is started in `make bench`."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest


def test_the_ideal_is_what_the_longest_node_has_left(
    script: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    """From when the last node is warm; a task under way counts for what is left of it."""
    module = script("scale")
    monkeypatch.setattr(module, "asleep_s", lambda _device, _number, seconds: seconds)
    # b warms at 3.0, when a is half a second into its third task of five.
    ends = module.Ends({"a": [1.5, 2.5, 3.5, 4.6, 5.7], "b": [3.0, 4.0, 5.0, 6.1, 7.2]})
    taken_s, ideal_s = module.makespan_s(ends, 1.0)
    assert taken_s == pytest.approx(4.2)
    assert ideal_s == pytest.approx(4.0)


def test_tasks_vary_and_are_the_same_every_time(script: Callable[[str], ModuleType]) -> None:
    """By up to a quarter, around the mean."""
    module = script("scale")
    times = [module.asleep_s("board-1", number, 2.0) for number in range(200)]
    assert times == [module.asleep_s("board-1", number, 2.0) for number in range(200)]
    assert 1.5 <= min(times) < max(times) <= 2.5
    assert sum(times) / len(times) == pytest.approx(2.0, abs=0.1)
