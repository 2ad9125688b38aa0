"""What nights let expect: by hand, and how often chance alone looks like a change."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import t as student

from jobs.regressions.detector import Reference


def known(past: list[float], correlation: float = 0.5) -> Reference:
    """Nights about 0 whose scatter is 0.01, known with 20 degrees of freedom."""
    series = np.array(past)
    return Reference(series, 0.0, len(past), correlation, 0.01, 20, 0.0, 0.0)


def test_tonight_by_hand() -> None:
    """The night before was 0.02 up, so 0.01 is expected; 0.05 is 0.04 or 4 errors more."""
    difference = known([0.0] * 2 + [0.02]).difference(0.05)
    one = 0.04 / (0.01 * math.sqrt(1 + 1 / 3))
    # As if the step was last night: level -0.01 from the two before.
    before, after = 0.02 + 0.01 - 0.5 * 0.01, 0.05 + 0.01 - 0.5 * 0.03
    effect = (before + 0.5 * after) / 1.25
    two = effect / (0.01 * math.sqrt(1 / 1.25 + (1.5 / 1.25) ** 2 / 2))
    chances = student.sf(one, 20) / 0.2, student.sf(two, 20) / 0.8
    assert difference.slower == pytest.approx(min(chances))
    assert difference.effect == pytest.approx(effect if chances[1] < chances[0] else 0.04)


def test_a_drift_by_hand() -> None:
    """Means of uncorrelated nights: 2 of 0 and 2 of 0.05, 0.02 of it allowed, 0.01 the error."""
    drift = known([0.0] * 5, correlation=0.0).drift(np.zeros(2), np.full(2, 0.05), 0.02)
    assert drift.effect == pytest.approx(0.05)
    assert drift.slower == pytest.approx(student.sf(3.0, 20))
    assert drift.high - drift.effect == pytest.approx(student.isf(0.025, 20) * 0.01)


def test_the_mean_of_autocorrelated_nights() -> None:
    """Its variance, against many series."""
    generator = np.random.default_rng(3)
    nights = generator.normal(0, 1, (20_000, 7))
    for night in range(1, 7):
        nights[:, night] = 0.5 * nights[:, night - 1] + nights[:, night] * 0.75**0.5
    assert known([0.0] * 5)._spread(7) == pytest.approx(nights.mean(axis=1).var(), rel=0.03)


def test_a_control_that_moves_with_the_cell_is_divided_out() -> None:
    """As much of it as moved together in the past: all, or nothing."""
    generator = np.random.default_rng(4)
    control, noise = generator.normal(0, 0.02, 30), generator.normal(0, 0.001, 30)
    together = Reference.of(control + noise, control)
    assert together.share == pytest.approx(1, abs=0.25)
    assert together.difference(0.05, 0.05).slower > 0.01
    assert together.difference(0.05, 0.0).slower < 1e-6
    apart = Reference.of(generator.normal(0, 0.02, 30), control)
    assert apart.share < 0.35


def test_a_state_that_cell_and_control_share_is_divided_out_whole() -> None:
    """Rare steps of both together; a step of the cell alone does not count."""
    generator = np.random.default_rng(7)
    state = np.where((np.arange(30) // 10) % 2, 0.1, 0.0)
    common, own = generator.normal(0, 0.01, (2, 30))
    control = common + state
    cell = 0.7 * common + 0.7 * own + state
    assert Reference.of(cell, control).share == pytest.approx(1, abs=0.12)
    stepped = common + np.where(np.arange(30) < 15, 0.0, 0.3)
    assert Reference.of(stepped + generator.normal(0, 0.001, 30), common).share > 0.85


def test_a_control_that_never_moved_is_not_divided_out() -> None:
    """As a clock of coarse ticks has it."""
    assert Reference.of(np.random.default_rng(8).normal(0, 0.01, 12), np.zeros(12)).share == 0.0


def test_the_degrees_of_freedom() -> None:
    """29 changes from night to night, less one a level, less one where a control has a share."""
    generator = np.random.default_rng(9)
    control, noise = generator.normal(0, 0.01, 30), generator.normal(0, 0.003, 30)
    step = np.where(np.arange(30) < 18, 0.0, 0.2)
    there_and_back = np.where(np.arange(30) % 5 == 4, 0.2, 0.0)
    assert Reference.of(noise).freedom == 28
    assert Reference.of(noise + step).freedom == 27
    assert Reference.of(noise + there_and_back).freedom == 27
    assert Reference.of(control + noise, control).freedom == 27
    assert Reference.of(control + noise + step, control).freedom == 26
    found = Reference.of(noise)
    rest = noise - noise.mean()
    added = rest[1:] - found.correlation * rest[:-1]
    assert found.scatter == pytest.approx(math.sqrt(float(added @ added) / 28))


def test_several_levels_by_hand() -> None:
    """Nights are moved to the slowest level; from the fastest it is the same, lower by the gap."""
    noise = np.random.default_rng(10).normal(0, 0.005, 30)
    is_slow = np.arange(30) % 5 == 4
    reference = Reference.of(noise + 0.1 * is_slow)
    gap = noise[is_slow].mean() + 0.1 - noise[~is_slow].mean()
    assert reference.level == pytest.approx(noise[is_slow].mean() + 0.1)
    assert reference.nights == 6
    assert reference.past == pytest.approx(noise + np.where(is_slow, 0.1, gap))
    fastest = reference.at_fastest()
    assert (fastest.level, fastest.nights) == (pytest.approx(noise[~is_slow].mean()), 24)
    assert fastest.past == pytest.approx(reference.past - gap)
    moved = reference.moved(np.array([fastest.level + 0.01, reference.level - 0.01]))
    assert moved == pytest.approx([reference.level + 0.01, reference.level - 0.01])


def test_after_a_step_the_new_level_is_expected() -> None:
    """A step of 10 % six nights ago: the new level is as expected, the old one is not."""
    past = np.random.default_rng(5).normal(0, 0.005, 30)
    past[-6:] += 0.1
    reference = Reference.of(past)
    assert reference.nights == 6
    assert reference.level == pytest.approx(0.1, abs=0.01)
    assert reference.difference(0.1).slower > 0.05
    assert reference.difference(0.0).faster < 1e-4


def test_chance_alone() -> None:
    """Of nights without a change, about as many as allowed look changed: 1 % of 500."""
    generator = np.random.default_rng(6)
    looked = 0
    for _ in range(50):
        nights = generator.normal(0, 0.015, 41)
        for night in range(1, 41):
            nights[night] = 0.5 * nights[night - 1] + nights[night] * 0.75**0.5
        for night in range(31, 41):
            looked += (
                Reference.of(nights[night - 30 : night]).difference(nights[night]).slower < 0.01
            )
    assert 1 <= looked <= 12
