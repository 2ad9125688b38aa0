"""The ratio of times paired by image: by hand, and how often it holds what was planted."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from jobs.statistics.autocorrelation import CORRELATIONS
from jobs.statistics.holm import adjust_p_values
from jobs.statistics.log_ratio import (
    LogRatio,
    _residual_variance,
    _variance_of_images,
    log_ratio,
    percent,
)

Numbers = NDArray[np.float64]


def levels(
    generator: np.random.Generator, shape: tuple[int, int], correlation: float = 0.0
) -> Numbers:
    """(comparisons, rounds) of standard deviation 1, each correlated with the one before."""
    drawn = generator.normal(size=shape)
    for number in range(1, shape[1]):
        drawn[:, number] *= math.sqrt(1 - correlation**2)
        drawn[:, number] += correlation * drawn[:, number - 1]
    return drawn


def held(ratio: LogRatio, truth: float) -> float:
    """The share of intervals that hold it."""
    low, high = ratio.interval()
    return float(np.mean((low <= truth) & (truth <= high)))


def test_images_that_differ_do_not_matter() -> None:
    """Images of 1 ms and of 9 ms, 5 % slower in both rounds: nothing is known of what varies."""
    first = np.log([[1.0, 9.0, 3.0]] * 2)
    ratio = log_ratio(first, first + np.log(1.05))
    assert percent(float(ratio.value)) == pytest.approx(5)
    assert not ratio.is_known


def test_paired_rounds_by_hand() -> None:
    """Gains of 1, 2 and 6: independent, Student's t with 2 degrees of freedom has p = 0.184."""
    gains = np.array([[1.0], [2.0], [6.0]])
    ratio = log_ratio(np.zeros((3, 1)), gains, are_paired=True)
    assert ratio.value == 3
    assert ratio.freedom == pytest.approx(2)
    assert ratio.errors[0] == pytest.approx(math.sqrt(7 / 3))
    alone = 2 * stats.t.sf(3 / ratio.errors, 2)
    assert alone[0] == pytest.approx(stats.ttest_1samp(gains[:, 0], 0).pvalue)
    assert alone[0] == pytest.approx(0.1885, abs=1e-4)
    assert float(ratio.p_value()) == pytest.approx(ratio.weights @ alone)


def test_two_paired_rounds_have_one_degree_of_freedom() -> None:
    """Of 0 and 2, all correlations equally likely: the mean of as many Cauchy distributions."""
    ratio = log_ratio(np.zeros((2, 1)), np.array([[0.0], [2.0]]), are_paired=True)
    assert ratio.freedom == pytest.approx(1)
    assert ratio.weights == pytest.approx(1 / len(CORRELATIONS))
    scales = np.sqrt((1 + CORRELATIONS) / (1 - CORRELATIONS))
    assert ratio.p_value() == pytest.approx(2 * stats.cauchy.sf(1 / scales).mean())


def test_apart_they_are_welchs() -> None:
    """Two sides of 3 and 5 rounds: for independent ones the p-value of Welch's test."""
    first, second = np.array([[3.0], [1.0], [2.5]]), np.array([[5.0], [9.0], [7.0], [4.0], [8.0]])
    ratio = log_ratio(first, second)
    welch = stats.ttest_ind(second[:, 0], first[:, 0], equal_var=False)
    alone = 2 * stats.t.sf(float(ratio.value) / ratio.errors[0], ratio.freedom[0])
    assert ratio.freedom[0] == pytest.approx(welch.df)
    assert alone == pytest.approx(welch.pvalue)


@pytest.mark.parametrize("are_paired", [True, False])
def test_the_interval_ends_where_p_is_5_percent(*, are_paired: bool) -> None:
    """Either end as the true difference has this p."""
    first, second = np.random.default_rng(4).normal(size=(2, 5, 30))
    low, _ = log_ratio(first, second, are_paired=are_paired).interval()
    moved = log_ratio(first, second - low, are_paired=are_paired)
    assert moved.p_value() == pytest.approx(0.05)
    assert moved.interval()[0] == pytest.approx(0)


def test_rounds_in_turns_are_paired() -> None:
    """What moves both sides of a round alike is no difference."""
    drift = np.array([[0.0], [3.0], [-2.0], [1.0]])
    first = drift + np.zeros((4, 20))
    gains = np.array([[0.1], [0.12], [0.1], [0.08]])
    paired = log_ratio(first, first + gains, are_paired=True)
    low, high = paired.interval()
    assert 0 < low < 0.1 < high < 0.2
    low, high = log_ratio(first, first + gains).interval()
    assert high - low > 3


def test_images_that_gain_otherwise_widen_it() -> None:
    """Rounds agree, images gain 0, 1, ... 9: a variance of 55 / 6, that of their mean a tenth."""
    gains = np.arange(10.0) + np.array([[0.0], [1e-6], [-1e-6]])
    ratio = log_ratio(np.zeros((3, 10)), gains, are_paired=True)
    assert ratio.errors == pytest.approx(math.sqrt(55 / 6 / 10), rel=1e-6)
    assert ratio.freedom == pytest.approx(2), "that of the rounds, not that of the images"


def test_many_at_once_are_as_each_alone() -> None:
    """Leading axes."""
    first, second = np.random.default_rng(6).normal(size=(2, 7, 4, 5))
    together = log_ratio(first, second)
    alone = [log_ratio(a, b) for a, b in zip(first, second, strict=True)]
    assert together.p_value() == pytest.approx([float(each.p_value()) for each in alone])
    assert together.interval()[1] == pytest.approx([float(each.interval()[1]) for each in alone])


def test_what_images_add_by_hand() -> None:
    """Their gains vary by 15; what is left is 8, of 6 degrees of freedom, and a third of it counts.

    A level of each round and one of each image are no part of what is left.
    """
    left = np.outer([1, -1, 0], [1, 1, -1, -1])
    gains = left + np.array([[5.0], [0.0], [-7.0]]) + np.array([0.0, 3.0, 6.0, 9.0])
    assert _residual_variance(gains) == pytest.approx(8 / 6)
    added = _variance_of_images(np.zeros((3, 4)), gains, [gains])
    assert added == pytest.approx((15 - 8 / 6 / 3) / 4)
    apart = _variance_of_images(-gains, np.zeros((3, 4)), [-gains, np.zeros((3, 4))])
    assert apart == pytest.approx(added)
    assert _variance_of_images(np.zeros((3, 4)), 9.0 * left, [9.0 * left]) == 0
    many = np.stack([gains, 2 * gains])
    assert _variance_of_images(0 * many, many, [many]) == pytest.approx(added * np.array([1, 4]))
    assert _variance_of_images(many[..., :1], many[..., :1], []).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("images", [2, 3])
def test_few_images_that_differ_have_few_degrees_of_freedom(images: int) -> None:
    """One less than there are, however many the rounds; also of many comparisons."""
    level = np.array([[0.0], [1e-6]] * 6)
    gains = np.arange(images) ** 2 + level
    ratio = log_ratio(np.zeros((2, 12, images)), np.stack([gains] * 2), are_paired=True)
    assert ratio.freedom == pytest.approx(images - 1, rel=1e-3)


def test_comparisons_of_other_sizes_do_not_disturb_each_other() -> None:
    """Sixty rounds that scatter by 1e-9 beside others that scatter by 1e9."""
    first, second = np.random.default_rng(3).normal(size=(2, 60, 1))
    for sizes in ((1e-9, 1e9), (1e9, 1e-9)):
        scaled = np.array(sizes)[:, None, None]
        together = log_ratio(scaled * first, scaled * second)
        alone = log_ratio(first, second)
        assert together.weights == pytest.approx(np.stack([alone.weights] * 2), rel=1e-6)
        assert together.p_value() == pytest.approx([float(alone.p_value())] * 2, rel=1e-6)


@pytest.mark.parametrize("correlation", [0.0, 0.6])
@pytest.mark.parametrize("rounds", [2, 3, 8, 20])
@pytest.mark.parametrize("are_paired", [True, False])
def test_nothing_planted_is_rarely_found(
    rounds: int, correlation: float, *, are_paired: bool
) -> None:
    """In 300 grids of 10 comparisons: by Holm in 6 % or less, 95 % intervals hold 0 in 94 %.

    3 standard deviations are allowed: of 300 grids 4 %, of 3,000 intervals 1.3 %.
    """
    generator = np.random.default_rng(rounds)
    sides = [levels(generator, (3000, rounds), correlation)[:, :, None] for _ in range(2)]
    ratio = log_ratio(sides[0], sides[1], are_paired=are_paired)
    grids = ratio.p_value().reshape(-1, 10).tolist()
    found = sum(min(p for p in adjust_p_values(grid) if p is not None) < 0.05 for grid in grids)
    assert found <= (0.06 + 0.04) * len(grids)
    assert held(ratio, 0) >= 0.94 - 0.013


def test_what_is_planted_is_held_and_found() -> None:
    """3 % slower, rounds 0.5 % off, images 5 % off and gaining otherwise by 1 %: 2,000 times."""
    generator = np.random.default_rng(5)
    shape = (2000, 8, 12)
    images = generator.normal(1, 0.5, size=12)
    first, second = (
        images + 0.005 * levels(generator, shape[:2])[:, :, None] + generator.normal(0, 0.01, shape)
        for _ in range(2)
    )
    second = second + 0.03 + generator.normal(0, 0.01, size=(2000, 1, 12))
    ratio = log_ratio(first, second)
    assert held(ratio, 0.03) >= 0.94
    assert np.mean(ratio.p_value() < 0.05) > 0.95


def test_a_share_of_the_error_widens_the_interval_as_it_raises_p() -> None:
    """The interval ends at 0 where p is 5 %, whatever the share."""
    generator = np.random.default_rng(4)
    first, second = generator.normal(0, 0.01, (2, 6, 8))
    ratio = log_ratio(first, second)
    for share in (1.0, 0.1):
        low, high = ratio.interval(share)
        at_end = replace(ratio, value=(high - low) / 2)
        assert at_end.p_value(share) == pytest.approx(0.05)
    assert ratio.p_value(1e-9) == 1
