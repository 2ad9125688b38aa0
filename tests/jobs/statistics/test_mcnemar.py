"""McNemar's exact test and Tango's interval: by hand, against scipy, and by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binom, binomtest

from jobs.statistics.mcnemar import (
    AnswerChanges,
    AnswerTable,
    _score,
    interval,
    p_value,
)


def test_changes_are_counted() -> None:
    """Of ten images one is lost, two are won, three were right and four wrong both times."""
    first = np.array([True] * 4 + [False] * 6)
    second = np.array([True] * 3 + [False] + [True] * 2 + [False] * 4)
    changes = AnswerChanges.between(first, second)
    assert changes == (10, 1, 2)
    assert changes.points == pytest.approx(10)


def test_the_table_by_hand() -> None:
    """The same ten images: three right in both, one lost, two won, four wrong in both."""
    first = np.array([True] * 4 + [False] * 6)
    second = np.array([True] * 3 + [False] + [True] * 2 + [False] * 4)
    table = AnswerTable.between(first, second)
    assert table == (3, 1, 2, 4)
    assert table.changes == AnswerChanges.between(first, second)
    assert p_value(table.changes) == 1  # 2 (1 + 3) / 8


def test_p_value_by_hand() -> None:
    """Of six changes one won: 2 (1 + 6) / 64; none changed, or as many each way: 1."""
    assert p_value(AnswerChanges(100, 5, 1)) == 14 / 64
    assert p_value(AnswerChanges(100, 0, 0)) == 1
    assert p_value(AnswerChanges(100, 3, 3)) == 1


@pytest.mark.parametrize(("lost", "won"), [(0, 1), (0, 12), (31, 14), (400, 480), (2000, 1500)])
def test_p_value_is_the_binomial_tests(lost: int, won: int) -> None:
    """Scipy's exact two-sided test at one half, also of thousands of changes."""
    expected = binomtest(won, won + lost, 0.5).pvalue
    assert p_value(AnswerChanges(10_000, lost, won)) == pytest.approx(expected, rel=1e-9)


def likeliest_score(changes: AnswerChanges, difference: float) -> float:
    """The score at a supposed difference, with the likeliest shares found by trying them all."""
    images, lost, won = changes
    lowest, highest = max(0.0, -difference), (1 - difference) / 2
    lost_share = np.linspace(lowest, highest, 400_001)[1:-1]
    won_share = lost_share + difference
    same = 1 - lost_share - won_share
    with np.errstate(divide="ignore", invalid="ignore"):
        likelihood = (
            lost * np.log(lost_share)
            + won * np.log(won_share)
            + (images - lost - won) * np.log(same)
        )
    best = lost_share[np.nanargmax(likelihood)]
    variance = (2 * best + difference - difference**2) / images
    return float(((won - lost) / images - difference) / math.sqrt(variance))


@pytest.mark.parametrize(
    "changes", [AnswerChanges(100, 7, 2), AnswerChanges(500, 3, 21), AnswerChanges(44, 1, 9)]
)
def test_the_ends_of_an_interval_are_196_errors_away(changes: AnswerChanges) -> None:
    """By a score of its own kind: likelihoods on a fine grid, no equation solved."""
    value, low, high = interval(changes)
    assert value == pytest.approx(changes.points)
    assert likeliest_score(changes, low / 100) == pytest.approx(1.96, abs=2e-3)
    assert likeliest_score(changes, high / 100) == pytest.approx(-1.96, abs=2e-3)


def test_no_change_has_an_interval() -> None:
    """As wide as z squared over n plus z squared to each side; never a point."""
    value, low, high = interval(AnswerChanges(100, 0, 0))
    reach = 100 * 1.959964**2 / (100 + 1.959964**2)
    assert (value, low, high) == pytest.approx((0, -reach, reach))


def test_the_score_by_hand() -> None:
    """Of one image, which was won; where the error supposed is 0 all is infinitely far, or there.

    At a half, the likeliest share of lost images is a quarter and the variance three quarters.
    """
    assert _score(AnswerChanges(1, 0, 1), 0.5) == pytest.approx(1 / math.sqrt(3))
    assert _score(AnswerChanges(10, 0, 0), 1.0) == -math.inf
    assert _score(AnswerChanges(10, 0, 10), -1.0) == math.inf
    assert _score(AnswerChanges(10, 10, 0), -1.0) == 0.0


@pytest.mark.parametrize("images", [1, 10, 200])
def test_all_images_lost(images: int) -> None:
    """Its score at d is the root of n (1 + d) / (1 - d), so its end (z squared - n) / (... + n)."""
    square = 1.959963984540054**2
    end = 100 * (square - images) / (square + images)
    assert interval(AnswerChanges(images, images, 0)) == pytest.approx((-100, -100, end))
    assert interval(AnswerChanges(images, 0, images)) == pytest.approx((100, -end, 100))


def test_the_interval_holds_the_truth() -> None:
    """In about 95 % of samples of 300 images, of which 4 % are lost and 7 % won; 4 deviations."""
    generator = np.random.default_rng(11)
    samples = generator.multinomial(300, [0.04, 0.07, 0.89], size=1000)
    ends = [interval(AnswerChanges(300, lost, won)) for lost, won, _ in samples.tolist()]
    held = sum(low <= 3 <= high for _, low, high in ends)
    assert 922 <= held <= 978


def test_what_is_planted_is_found_and_nothing_else() -> None:
    """In 1,000 samples of 300 images: at most 5 % of equal ones, and as many others as computed.

    An exact test is conservative. The share to be found is summed over all outcomes by scipy.
    """
    generator = np.random.default_rng(12)
    for lost_share, won_share in ((0.05, 0.05), (0.02, 0.08)):
        shares = [lost_share, won_share, 1 - lost_share - won_share]
        samples = generator.multinomial(300, shares, size=1000).tolist()
        found = [p_value(AnswerChanges(300, lost, won)) <= 0.05 for lost, won, _ in samples]
        share = _found_share(300, lost_share, won_share)
        assert np.mean(found) == pytest.approx(share, abs=4 * math.sqrt(share * (1 - share) / 1000))
        assert share <= 0.05 if lost_share == won_share else share > 0.8


def _found_share(images: int, lost_share: float, won_share: float) -> float:
    """The share of samples with p of at most 0.05."""
    share, changed = 0.0, lost_share + won_share
    for flips in range(1, images + 1):
        won = np.arange(flips + 1)
        is_found = np.minimum(1, 2 * binom.cdf(np.minimum(won, flips - won), flips, 0.5)) <= 0.05
        found = binom.pmf(won, flips, won_share / changed)[is_found].sum()
        share += float(binom.pmf(flips, images, changed) * found)
    return share
