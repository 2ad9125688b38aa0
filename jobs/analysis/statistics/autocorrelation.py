"""How far the mean of rounds that follow each other is known, where one may resemble the next.

A machine drifts. If each of eight rounds correlates by 0.6 with the one before, the standard error
that follows from their scatter is less than half of the true one. Few rounds cannot tell how large
the correlation is, and an estimate in its place is too sure of itself even with its bias corrected
(Zwiers and von Storch 1995, Journal of Climate 8, 336-351). So none is estimated: before the rounds
are seen all CORRELATIONS are equally likely, afterwards as likely as the rounds make them. Given
one, the mean is known by Student's t with one degree of freedom less than there are rounds; what is
known of it is the mixture of these distributions. (The posterior of Zellner and Tiao 1964, Journal
of the American Statistical Association 59, 763-778, for a regression on a constant; here about the
plain mean and with its variance, where theirs is about the generalised least squares mean.)
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

CORRELATIONS = np.arange(18) / 20
"""Of a round with the one before it: 0 to 0.85. Over these, intervals of 2 to 20 rounds hold the
truth in 94 % of all cases or more up to a correlation of 0.6 (`benchmarks/comparison.py`)."""

_POINT = 1e-24  # of a sum of squares: below it numbers are equal

Numbers = NDArray[np.float64]


class Spread(NamedTuple):
    """What some rounds say of their mean, by correlation; (..., G) each.

    Attributes:
        variances: of the mean.
        evidence: the logarithm of how likely the rounds are, up to a constant.
    """

    variances: Numbers
    evidence: Numbers


def spread(rounds: Numbers) -> Spread:
    """The variance of the mean of rounds, for each of CORRELATIONS.

    Args:
        rounds: (..., R) what each round found, in the order in which they ran; at least two. Where
            one between is missing, its neighbours count as neighbours of each other.
    """
    number = rounds.shape[-1]
    rest = rounds - rounds.mean(axis=-1, keepdims=True)
    squares = (rest**2).sum(axis=-1)[..., None]
    ends = (rest[..., 0] ** 2 + rest[..., -1] ** 2)[..., None]
    edge = (rest[..., 0] + rest[..., -1])[..., None]
    products = (rest[..., 1:] * rest[..., :-1]).sum(axis=-1)[..., None]
    rho = CORRELATIONS
    # Sums over the inverse of the correlation matrix, which has three diagonals alone.
    ones = (number - (number - 2) * rho) / (1 + rho)
    mixed = rho * edge / (1 + rho)
    whole = (squares - 2 * rho * products + rho**2 * (squares - ends)) / (1 - rho**2)
    least = np.maximum(whole - mixed**2 / ones, 0.0)
    lags = np.arange(1, number)[:, None]
    of_mean = (number + 2 * ((number - lags) * rho**lags).sum(axis=0)) / number**2
    freedom = number - 1
    prior = freedom * np.log(1 - rho**2) + np.log(ones)
    evidence = -(prior + freedom * np.log(np.maximum(least, _POINT))) / 2
    # Rounds that are equal to the last bit say nothing of it.
    return Spread(of_mean * least / freedom, np.where(squares > _POINT, evidence, 0.0))
