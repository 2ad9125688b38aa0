"""What rounds say of their mean: by hand, against matrices, and on rounds of known correlation."""

from __future__ import annotations

import numpy as np
import pytest

from jobs.statistics.autocorrelation import CORRELATIONS, spread


def test_independent_rounds_by_hand() -> None:
    """Of 1, 2 and 6 the variance is 7, and that of their mean 7 / 3."""
    assert spread(np.array([1.0, 2.0, 6.0])).variances[0] == pytest.approx(7 / 3)


def test_two_rounds_by_hand() -> None:
    """Of 0 and 2 that correlate by r: (1 + r) / 2 over (1 - r) of the variance 2; no evidence."""
    found = spread(np.array([0.0, 2.0]))
    assert found.variances == pytest.approx((1 + CORRELATIONS) / (1 - CORRELATIONS))
    assert found.evidence == pytest.approx(found.evidence[0])


@pytest.mark.parametrize("rounds", [3, 8])
def test_as_matrices_have_it(rounds: int) -> None:
    """Generalised least squares and the restricted likelihood, computed from the whole matrix."""
    values = np.random.default_rng(rounds).normal(5, 2, rounds)
    found = spread(values)
    places, ones = np.arange(rounds), np.ones(rounds)
    expected = []
    for rho, variance in zip(CORRELATIONS, found.variances, strict=True):
        matrix = np.array([[rho ** abs(i - j) for j in places] for i in places])
        inverse = np.linalg.inv(matrix)
        rest = values - ones @ inverse @ values / (ones @ inverse @ ones)
        square = rest @ inverse @ rest
        scale = square / (rounds - 1)
        assert variance == pytest.approx(scale * matrix.sum() / rounds**2)
        likely = np.linalg.det(matrix) * (ones @ inverse @ ones) * square ** (rounds - 1)
        expected.append(-np.log(likely) / 2)
    assert found.evidence - found.evidence[0] == pytest.approx(np.array(expected) - expected[0])


def test_many_rounds_tell_their_correlation() -> None:
    """Of 400 rounds that correlate by 0.5 the likeliest correlation is near it."""
    generator = np.random.default_rng(2)
    rounds = generator.normal(size=400)
    for number in range(1, 400):
        rounds[number] = 0.5 * rounds[number - 1] + 0.75**0.5 * rounds[number]
    likeliest = CORRELATIONS[np.argmax(spread(rounds).evidence)]
    assert likeliest == pytest.approx(0.5, abs=0.11)


def test_equal_rounds_say_nothing() -> None:
    """No variance, and every correlation as likely."""
    found = spread(np.full(5, 0.1))
    assert found.variances == pytest.approx(0, abs=1e-30)
    assert not found.evidence.any()
