"""The harness benchmark: its median, and that it prints all three loops."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import numpy as np


def test_a_median_of_counted_values(script: Callable[[str], ModuleType]) -> None:
    """1, 3, 3, 3, 8: the middle one is 3; without the threes, and 8 twice, it is 8."""
    module = script("harness")
    values = np.array([1.0, 3.0, 8.0])
    assert module.median(values, np.array([1.0, 3.0, 1.0])) == 3
    assert module.median(values, np.array([1.0, 0.0, 2.0])) == 8


def test_what_is_added_by_hand(script: Callable[[str], ModuleType]) -> None:
    """2.02 ms against 2 and 1.6: 1 % and 26.25 %, with no variation."""
    module = script("harness")
    same = np.ones((2, 3))
    taken = {
        module.HARNESS: 2.02 * same,
        module.DECODING: 2.0 * same,
        module.RESIDENT: 1.6 * same,
    }
    lines = module.table("model", taken).splitlines()
    assert lines[1].split()[-3:] == ["1.00%"] * 3
    assert lines[2].split()[-3:] == ["26.25%"] * 3


def test_it_times_every_loop(printed: Callable[..., str]) -> None:
    """One line each, of the bundled digits model."""
    text = printed("harness", "--models", "digits-gfnet", "--rounds", "2", "--images", "2")
    for loop in ("harness", "bare, decoding", "bare, resident"):
        (line,) = [
            line for line in text.splitlines() if line.startswith(f"{'digits-gfnet':15}{loop:15}")
        ]
        assert float(line[30:].split()[0]) > 0
