"""benchmarks/detector.py at small size: it runs, and what it simulates is what it says."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest


def test_the_table_of_two_series(printed: Callable[..., str]) -> None:
    """A line for each rule; a control that shares all finds both slowdowns, accuracy is exact."""
    text = printed("detector", "--series", "2", "--nights", "44")
    assert "seeds 0 to 1" in text
    lines = {line[:31].strip(): line[31:].split() for line in text.splitlines()}
    assert lines["ours, control shares all"][2] == "100.0%"
    assert {"ours, no control", "fixed 7 %, all rounds", "asv-style, unthrottled"} <= set(lines)
    assert lines["accuracy -0.5, 10,000 images"] == ["0.00", "100.0%"]


def test_levels_are_as_said(script: Callable[[str], ModuleType]) -> None:
    """1.5 % from night to night, autocorrelated by one half, half of the variance shared."""
    module = script("detector")
    histories = [module.simulate(seed, 60, 0.5) for seed in range(300)]
    drift = module.DRIFT / module.MONTH * np.arange(60)
    cells = np.array([history.cell.level - drift for history in histories])
    controls = np.array([history.control.level for history in histories])
    assert cells.std() == pytest.approx(0.015, rel=0.05)
    assert (cells[:, 1:] * cells[:, :-1]).mean() / cells.var() == pytest.approx(0.5, abs=0.05)
    assert (cells * controls).mean() / cells.var() == pytest.approx(0.5**0.5, abs=0.06)


def test_the_fixed_rule_and_the_steps(script: Callable[[str], ModuleType]) -> None:
    """A step of 10 % is told by the one at once, by the other as soon as it has two nights."""
    module = script("detector")
    series = np.random.default_rng(1).normal(0, 0.002, 30)
    series[20:] += 0.1
    assert np.flatnonzero(module.fixed(series)).tolist() == [20]
    told = np.flatnonzero(module.asv_style(series))
    assert told[0] in (21, 22)
    assert module.edges(module.asv_style(series)) == 1
