"""benchmarks/detector.py at small size: it runs, and what it simulates is what it says."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest
from scipy import stats


def test_the_table_of_two_series(printed: Callable[..., str]) -> None:
    """A line for each rule; a control that shares all finds both slowdowns, accuracy is exact."""
    text = printed("detector", "--series", "2", "--nights", "44")
    assert "seeds 0 to 1" in text
    assert max(map(len, text.splitlines())) <= 80
    lines = {line[:29].strip(): line[29:].split() for line in text.splitlines()}
    assert lines["ours, control shares all"][3] == "100.0%"
    assert {"ours, no control", "fixed 7 %, all rounds", "asv-style, unthrottled"} <= set(lines)
    assert {"5-night states, half", "10 % slow nights, no control", "heavy tails, half"} <= set(
        lines
    )
    assert lines["accuracy -0.5, 10,000 images"] == ["0.00", "–", "100.0%"]


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
    assert len(module.alarms(module.asv_style(series))) == 1


def test_alarms_are_nights_that_follow_a_quiet_one(script: Callable[[str], ModuleType]) -> None:
    """Nights before the first that is judged count for nothing."""
    told = [True] * 12 + [False, True, True, False, True]
    assert script("detector").alarms(told) == [10, 13, 16]


def test_machines_are_as_said(script: Callable[[str], ModuleType]) -> None:
    """States last 2, 5 or 10 nights and are slow half of the time; 1 of 10; t with 3 degrees."""
    module = script("detector")
    generator = np.random.default_rng(1)
    for name, nights, share in (
        ("coin-toss states", 2, 0.5),
        ("5-night states", 5, 0.5),
        ("10-night states", 10, 0.5),
        ("10 % slow nights", 1 / 0.18, 0.1),
    ):
        is_slow = module.MACHINES[name].states(generator, 100_000)
        assert is_slow.mean() == pytest.approx(share, abs=0.02)
        assert 1 / np.mean(np.diff(is_slow)) == pytest.approx(nights, rel=0.03)
    tails = module.levels(generator, 100_000, has_tails=True)
    added = (tails[1:] - 0.5 * tails[:-1]) / (0.015 * 0.75**0.5 / 3**0.5)
    assert stats.kstest(added, stats.t(3).cdf).pvalue > 0.01
    machine = module.MACHINES["10-night states"]
    history = module.simulate(3, 60, 0.5, machine)
    steady = module.simulate(3, 60, 0.5)
    assert history.is_slow.any()
    slower = np.log(1.1) * history.is_slow
    assert history.cell.level - slower == pytest.approx(steady.cell.level)
    assert history.control.level - slower == pytest.approx(steady.control.level)


def test_the_return_of_a_machine(script: Callable[[str], ModuleType]) -> None:
    """Fast, slow and fast again, before the night."""
    has_returned = script("detector").has_returned
    states = np.array([1, 0, 0, 1, 1, 0, 1], dtype=bool)
    assert [has_returned(states, night) for night in range(1, 8)] == [False] * 5 + [True] * 2
