"""The ABBA benchmark: what is a unit, by hand; and that two cells of one checkpoint run."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest


def test_a_drift_cancels_there_and_back(script: Callable[[str], ModuleType]) -> None:
    """A B B A A B B A, each round 1 ms slower than the one before: no difference at all."""
    first = np.repeat([[0.0], [3.0], [4.0], [7.0]], 5, axis=1)
    second = np.repeat([[1.0], [2.0], [5.0], [6.0]], 5, axis=1)
    module = script("abba")
    assert module.difference(first, second) == pytest.approx((0, 0, 0))
    assert module.difference(first, second + 0.5) == pytest.approx((0.5, 0.5, 0.5))


def test_an_interval_that_excludes_zero_is_counted(script: Callable[[str], ModuleType]) -> None:
    """Of two runs one has a second cell that is always slower."""
    same = np.ones((4, 5))
    line, excluding = script("abba").row([[same, same], [same, same + 1]], rounds=4)
    assert excluding == 1
    assert line.split()[:5] == ["4", "2", "1", "of", "2"]


def test_two_names_of_a_checkpoint_run(
    printed: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Through planner and driver; how often zero is excluded is chance, and so the exit code."""
    with pytest.raises(SystemExit):
        printed("abba", "--repetitions", "2", "--rounds", "4", "--images", "4", "--warmup", "1")
    text = capsys.readouterr().out
    assert "digits-gfnet as two cells of 4 images a round" in text
    assert " of 2 " in text
