"""benchmarks/comparison.py at small size: it runs, and what it simulates is what it says."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest
from scipy import stats


def test_the_small_table(
    script: Callable[[str], ModuleType],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A line for each kind of sides, correlation and number of rounds; nothing is judged."""
    monkeypatch.setattr("sys.argv", ["comparison", "--small"])
    with pytest.raises(SystemExit) as ended:
        script("comparison").main()
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    cases = [tuple(line[:3]) for line in lines if line[0] in ("paired", "apart")]
    assert cases == [
        (sides, correlation, rounds)
        for sides in ("paired", "apart")
        for correlation in ("0", "0.6")
        for rounds in ("2", "8")
    ]
    assert ended.value.code == 0


def test_sides_are_as_said(script: Callable[[str], ModuleType]) -> None:
    """Rounds 1 % off each that correlate by 0.6, images of 1 %, 3 % slower; a drift is shared."""
    module = script("comparison")
    generator = np.random.default_rng(1)
    first, second = module.Case(are_paired=True, rounds=5, correlation=0.6).sides(
        generator, 4000, module.PLANTED
    )
    gains = (second - first).mean(axis=2)
    assert gains.mean() == pytest.approx(np.log(1.03), abs=0.001)
    # Two sides' rounds, two sides' and one gain of 12 images.
    assert gains.var() == pytest.approx(1e-4 * (2 + 2 / 12 + 1 / 12), rel=0.05)
    gains = gains - gains.mean()
    assert (gains[:, 1:] * gains[:, :-1]).mean() == pytest.approx(1e-4 * (1.2 + 1 / 12), rel=0.06)
    assert first.mean(axis=2).var() > 4 * gains.var()


def test_plain_is_students_t(script: Callable[[str], ModuleType]) -> None:
    """As scipy has it, paired and apart."""
    module = script("comparison")
    first, second = np.random.default_rng(2).normal(size=(2, 20, 4, 3))
    means = first.mean(axis=2), second.mean(axis=2)
    paired, _ = module.plain(first, second, are_paired=True)
    assert paired == pytest.approx(stats.ttest_rel(*means, axis=1).pvalue)
    apart, _ = module.plain(first, second, are_paired=False)
    assert apart == pytest.approx(stats.ttest_ind(*means, axis=1, equal_var=False).pvalue)


def test_the_aims_can_be_missed(
    script: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the comparison takes rounds for independent, it finds what is not there."""
    module = script("comparison")
    case = module.Case(are_paired=True, rounds=8, correlation=0.6)
    monkeypatch.setattr("jobs.statistics.autocorrelation.CORRELATIONS", np.zeros(1))
    figures = module.simulate(case, grids=50, planted=200, seed=0)
    assert not figures.are_met
    assert figures.any_found > 0.3
