"""The uncertainty of the mean of consecutive rounds, each of which may resemble the one before.

A machine drifts. If each of eight rounds correlates by 0.6 with the one before, the standard error
computed from their scatter is less than half of the true one. A few rounds cannot show how large
the correlation is, and using an estimate of it is overconfident, even with its bias corrected
(Zwiers and von Storch 1995, Journal of Climate 8, 336-351). So no correlation is estimated: all
CORRELATIONS are equally likely a priori, and the rounds weight them. Given one correlation, the
mean follows Student's t with one degree of freedom less than there are rounds; its distribution is
the mixture of these. (The posterior of Zellner and Tiao 1964, Journal of the American Statistical
Association 59, 763-778, for a regression on a constant; here it is centred on the plain mean, with
the variance of that mean, while theirs is centred on the generalised least squares mean.)
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

CORRELATIONS = np.arange(18) / 20
"""Candidate correlations of a round with the one before: 0 to 0.85. With these, intervals from 2 to
20 rounds contain the true value in at least 94 % of cases, up to a correlation of 0.6
(`benchmarks/comparison.py`)."""

_POINT = 1e-24  # a smaller sum of squares means that the numbers are equal

Numbers = NDArray[np.float64]


class Spread(NamedTuple):
    """Variance and evidence for each of CORRELATIONS; (..., G) each.

    Attributes:
        variances: of the mean.
        evidence: the log-likelihood of the rounds, up to a constant.
    """

    variances: Numbers
    evidence: Numbers


def spread(rounds: Numbers) -> Spread:
    """Return the variance of the mean of rounds, for each of CORRELATIONS.

    Args:
        rounds: (..., R) the value of each round, in the order in which they ran; at least two. If
            a round in between is missing, its neighbours count as adjacent.
    """
    number = rounds.shape[-1]
    rest = rounds - rounds.mean(axis=-1, keepdims=True)
    squares = (rest**2).sum(axis=-1)[..., None]
    ends = (rest[..., 0] ** 2 + rest[..., -1] ** 2)[..., None]
    edge = (rest[..., 0] + rest[..., -1])[..., None]
    products = (rest[..., 1:] * rest[..., :-1]).sum(axis=-1)[..., None]
    rho = CORRELATIONS
    # Sums over the inverse of the correlation matrix, which is tridiagonal.
    ones = (number - (number - 2) * rho) / (1 + rho)
    mixed = rho * edge / (1 + rho)
    whole = (squares - 2 * rho * products + rho**2 * (squares - ends)) / (1 - rho**2)
    least = np.maximum(whole - mixed**2 / ones, 0.0)
    freedom = number - 1
    prior = freedom * np.log(1 - rho**2) + np.log(ones)
    evidence = -(prior + freedom * np.log(np.maximum(least, _POINT))) / 2
    # Rounds that are equal to the last bit are no evidence for any correlation.
    return Spread(
        mean_variances(number) * least / freedom, np.where(squares > _POINT, evidence, 0.0)
    )


def mean_variances(number: int) -> Numbers:
    """Return the variance of the mean of so many rounds of variance 1; (G,) by CORRELATIONS."""
    lags = np.arange(1, number)[:, None]
    found: Numbers = (number + 2 * ((number - lags) * CORRELATIONS**lags).sum(axis=0)) / number**2
    return found
