"""What nights let expect: by hand, and how often chance alone looks like a change."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import t as student

from jobs.analysis.regressions import detector
from jobs.analysis.regressions.detector import (
    LevelDifference,
    Reference,
    _correlation,
    _median_slope,
    _share,
)
from jobs.statistics.recurring import recurring


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


def by_scipy(expected: float, effect: float, error: float) -> LevelDifference:
    """A test with 20 degrees of freedom, by scipy."""
    reach = student.isf(0.025, 20) * error
    tails = student.sf(effect / error, 20), student.sf(-effect / error, 20)
    return LevelDifference(expected, effect, effect - reach, effect + reach, *tails)


@pytest.mark.parametrize("night", [0.05, 0.004, -0.05])
@pytest.mark.parametrize("past", [[0.0, 0.0, 0.02], [0.01, -0.01, 0.02, -0.005]])
def test_a_night_column_by_column(past: list[float], night: float) -> None:
    """As tonight alone has it, or as two nights together have it: whichever is more telling."""
    reference = known(past)
    nights = len(past)
    expected = 0.5 * past[-1]
    one = by_scipy(expected, night - expected, 0.01 * math.sqrt(1 + 1 / nights))
    level = -past[-1] / (nights - 1)
    before = past[-1] - level - 0.5 * (past[-2] - level)
    after = night - level - 0.5 * (past[-1] - level)
    error = 0.01 * math.sqrt(1 / 1.25 + (1.5 / 1.25) ** 2 / (nights - 1))
    two = by_scipy(level, (before + 0.5 * after) / 1.25, error)
    telling = min(((min(one[4:]) / 0.2, one), (min(two[4:]) / 0.8, two)), key=lambda pair: pair[0])[
        1
    ]
    chances = [min(a / 0.2, b / 0.8, 1.0) for a, b in zip(one[4:], two[4:], strict=True)]
    found = reference.difference(night)
    assert found == pytest.approx((*telling[:4], *chances))
    elsewhere = replace(reference, past=reference.past + 3, level=3.0).difference(night + 3)
    assert elsewhere == pytest.approx((found.expected + 3, *found[1:]))


def test_where_there_are_too_few_nights_tonight_is_all() -> None:
    """On a level of two nights, or without a night before the last: the chances are its own."""
    reference = Reference(np.array([0.3, 0.0, 0.02]), 0.0, 2, 0.5, 0.01, 20, 0.0, 0.0)
    expected = by_scipy(0.01, 0.04, 0.01 * math.sqrt(1.5))
    assert reference.difference(0.05) == pytest.approx(expected)
    reference = Reference(np.array([0.0, 0.02]), 0.0, 9, 0.5, 0.01, 20, 0.0, 0.0)
    expected = by_scipy(0.01, 0.04, 0.01 * math.sqrt(1 + 1 / 9))
    assert reference.difference(0.05) == pytest.approx(expected)
    three = Reference(np.array([0.0, 0.0, 0.02]), 0.0, 9, 0.5, 0.01, 20, 0.0, 0.0)
    assert three.difference(0.05).slower != pytest.approx(expected.slower)


def test_the_false_alarms_are_shared_by_both_tests() -> None:
    """A chance is at most 1, and the more telling test is that with the smaller share of it."""
    one = LevelDifference(1.0, 1.0, 1.0, 1.0, 0.5, 0.01)
    two = LevelDifference(2.0, 2.0, 2.0, 2.0, 0.9, 0.02)
    assert Reference._together(one, two) == pytest.approx((2.0,) * 4 + (1.0, 0.025))
    assert Reference._together(one, two._replace(slower=0.004)) == pytest.approx(
        (2.0,) * 4 + (0.005, 0.025)
    )
    for chance in (0.3, 0.045):
        assert Reference._together(one, two._replace(faster=chance)) == pytest.approx(
            (1.0,) * 4 + (1.0, 0.05)
        ), "of 0.01 / 0.2 and so much / 0.8"
    assert Reference._together(one._replace(faster=0.9), two._replace(faster=0.9)) == (
        pytest.approx((2.0,) * 4 + (1.0, 1.0))
    ), "of 0.5 / 0.2 and 0.9 / 0.8"


def test_the_variance_of_a_mean_by_hand() -> None:
    """Of 3 nights correlated by a half: 3 + 2 (2 / 2 + 1 / 4), over 9; of one night 1."""
    assert known([0.0] * 5)._spread(3) == pytest.approx(5.5 / 9)
    assert known([0.0] * 5)._spread(1) == 1
    assert known([0.0] * 5, correlation=0.0)._spread(4) == pytest.approx(1 / 4)


@pytest.mark.parametrize("shift", [0.05, -0.03])
def test_a_drift_of_correlated_nights(shift: float) -> None:
    """Three nights of the baseline, two of now: the deviation is that of a night, not of a step."""
    baseline, recent = np.array([0.01, 0.0, -0.01]) + 1, np.array([0.0, 0.02]) + 1 + shift
    drift = known([0.0] * 5).drift(baseline, recent, 0.02)
    error = 0.01 / math.sqrt(0.75) * math.sqrt(5.5 / 9 + 3 / 4)
    effect, reach = shift + 0.01, student.isf(0.025, 20) * error
    assert drift == pytest.approx(
        (
            1.0,
            effect,
            effect - reach,
            effect + reach,
            student.sf((effect - 0.02) / error, 20),
            student.sf((-effect - 0.02) / error, 20),
        )
    )


def test_what_was_learnt_part_by_part() -> None:
    """Level, correlation and scatter of two levels, one after the other; older nights do not count.

    The control is divided out as far as it is shared, about its own mean.
    """
    generator = np.random.default_rng(12)
    control = 3 + generator.normal(0, 0.02, 24)
    cell = control + generator.normal(0, 0.004, 24) + np.where(np.arange(24) < 15, 0.0, 0.3)
    older = 4
    found = Reference.of(cell, control, older)
    share = _share(cell[older:], control[older:])
    level = control[older:].mean()
    assert 0.9 < share <= 1
    assert (found.share, found.control_level) == (share, pytest.approx(level))
    past = (cell - share * (control - level))[older:]
    assert found.past == pytest.approx(past)
    rest = past - np.repeat([past[:11].mean(), past[11:].mean()], [11, 9])
    assert (found.level, found.nights) == (pytest.approx(past[11:].mean()), 9)
    assert found.correlation == pytest.approx(_correlation(rest, 2))
    added = rest[1:] - found.correlation * rest[:-1]
    assert found.freedom == 19 - 2 - 1
    assert found.scatter == pytest.approx(math.sqrt(added @ added / 16))
    assert found.recurring is None
    assert found.cleaned(5.0, 4.0) == pytest.approx(5.0 - share * (4.0 - level))
    assert found.cleaned(5.0, None) == 5.0
    assert found.at_fastest() is found
    assert found.moved(past) is past
    night = found.difference(5.0, 4.0)
    assert night == found.difference(5.0 - share * (4.0 - level))


def test_older_nights_tell_of_levels_alone() -> None:
    """With levels that recur all nights count, and what was told as a regression is none."""
    noise = np.random.default_rng(13).normal(0, 0.005, 30)
    past = noise + np.where(np.arange(30) % 5 == 4, 0.2, 0.0)
    found = Reference.of(past, None, 9)
    assert found.recurring is not None
    assert len(found.past) == 30
    expected = recurring(past)
    assert expected is not None
    assert found.recurring.means == pytest.approx(expected.means)
    rest = past - expected.means[expected.of_night]
    assert found.past == pytest.approx(found.level + rest)
    assert found.correlation == pytest.approx(_correlation(rest, 2))
    assert (found.share, found.control_level) == (0.0, 0.0)
    told = Reference.of(past, None, 9, np.ones(30, np.bool_))
    assert told.recurring is None
    assert len(told.past) == 21
    assert len(Reference.of(noise, None).past) == 30


def test_three_levels() -> None:
    """From the fastest of three: its mean, its nights."""
    noise = np.random.default_rng(14).normal(0, 0.002, 30)
    slow = np.resize([0, 0, 1, 0, 2], 30)
    found = Reference.of(noise + 0.1 * slow)
    assert (found.nights, found.freedom) == (6, 29 - 3)
    assert found.level == pytest.approx(0.2, abs=0.005)
    fastest = found.at_fastest()
    assert fastest.nights == 18
    assert fastest.level == pytest.approx(noise[slow == 0].mean())


def test_nights_that_are_equal() -> None:
    """Have a scatter above 0, so that a difference is infinitely unlikely, not undefined."""
    found = Reference.of(np.full(6, 2.0))
    assert (found.scatter, found.correlation, found.freedom) == (1e-9, 0.0, 4)
    assert found.difference(2.1).slower < 1e-6


def test_the_least_degrees_of_freedom(monkeypatch: pytest.MonkeyPatch) -> None:
    """One, however many levels there are."""
    generator = np.random.default_rng(15)
    past = generator.normal(0, 0.01, 5)
    monkeypatch.setattr(
        detector, "levels", lambda series: [detector_level(n) for n in range(len(series))]
    )
    assert Reference.of(past).freedom == 1


def detector_level(number: int) -> slice:
    """A level of one night."""
    return slice(number, number + 1)


def test_the_correlation_of_neighbours_by_hand() -> None:
    """Of 1, 1, -1, -1: a quarter, and a half more for its mean; blended with ten nights."""
    rest = np.array([1.0, 1.0, -1.0, -1.0])
    assert _correlation(rest, 1) == pytest.approx((4 * (0.25 + 2 / 4) + 5) / 14)
    assert _correlation(rest, 2) == pytest.approx((4 * (0.25 + 4 / 4) + 5) / 14)
    apart = np.array([1.0, -1.0] * 10)
    assert _correlation(apart, 1) == 0.0
    few = np.array([1.0, -1.0, 0.0, 0.0])
    assert _correlation(few, 1) == pytest.approx((4 * (-0.5 + 1 / 4) + 5) / 14)
    assert _correlation(np.ones(200), 1) == 0.9
    assert _correlation(np.full(4, 4e-10), 1) == 0.0
    assert _correlation(np.full(4, 6e-10), 1) > 0.5


def test_the_median_slope_by_hand() -> None:
    """Ratios 1, 2 and 5 with weights 1, 1 and 3: 5; nights in which the control stood still: no."""
    ours, its = np.array([2.0, 7.0, -1.0, 15.0]), np.array([1.0, 0.0, -1.0, 3.0])
    assert _median_slope(ours, its) == 5.0
    assert _median_slope(np.array([1.0, 4.0, 9.0]), np.array([1.0, 2.0, 3.0])) == 2.0
    assert _median_slope(np.array([-1.0, -4.0, 27.0]), np.array([1.0, -2.0, 3.0])) == 2.0


def test_the_share_by_hand() -> None:
    """Half of the control's changes but for one, which is cut off; never below 0 or above 1."""
    its = np.array([1.0, -1.0, 2.0, -2.0, 1.0])
    control = np.concatenate([[0.0], np.cumsum(its)])
    rest = np.array([0.1, 0.1, -0.1, 0.2, 9.0])
    past = np.concatenate([[0.0], np.cumsum(0.5 * its + rest)])
    first = _median_slope(0.5 * its + rest, its)
    left = 0.5 * its + rest - first * its
    usual = 5 * np.median(np.abs(left))
    by_hand = first + np.clip(left, -usual, usual) @ its / 11
    assert 0 < by_hand < 1
    assert _share(past, control) == pytest.approx(by_hand)
    down = np.concatenate([[0.0], np.cumsum(0.5 * its - rest)])
    left = 0.5 * its - rest - _median_slope(0.5 * its - rest, its) * its
    usual = 5 * np.median(np.abs(left))
    assert left.min() < -usual
    by_hand = _median_slope(0.5 * its - rest, its) + np.clip(left, -usual, usual) @ its / 11
    assert _share(down, control) == pytest.approx(by_hand)
    assert _share(3 * control, control) == 1.0
    assert _share(-control, control) == 0.0
    assert _share(past, np.zeros(6)) == 0.0
