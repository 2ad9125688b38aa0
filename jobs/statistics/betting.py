"""Tests whether the mean of a finite population is below a bound, by betting on a sample."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]

CAUTION = 0.75
"""The largest share of the capital that one image can lose."""

_ROUNDING = 1e-9


def rejects(losses: Numbers, population: int, kappas: Numbers, error: float) -> NDArray[np.bool_]:
    """Return for each row whether "the population mean is kappa or more" is rejected.

    The losses are drawn in random order without replacement. If the population had a mean of kappa
    or more, the images not seen yet would have a mean of k_i or more, k_i = (population kappa - sum
    of those seen) / (number left). Betting lambda_i on "the next loss lies below k_i" multiplies
    the capital by 1 + lambda_i (k_i - x_i), which on average does not grow: a supermartingale,
    whose maximum reaches 1 / error with a probability of at most `error` (Ville). Each lambda_i
    depends only on earlier losses and puts at most a share `CAUTION` of the capital at risk.
    (Waudby-Smith and Ramdas, Estimating means of bounded random variables by betting, 2024.)

    Args:
        losses: (J, n) in 0..1, one row per hypothesis, in the random order of the images.
        population: number of images, including those not drawn.
        kappas: (J,) the bounds.
        error: the probability of rejecting a true hypothesis.
    """
    count = losses.shape[1]
    if not count:
        return np.zeros(len(losses), np.bool_)
    after = np.cumsum(losses, axis=1)
    left = population - np.arange(count)
    expected = (population * kappas[:, None] - (after - losses)) / left
    bets = np.minimum(
        _plug_in_bets(losses, after, error),
        CAUTION / np.maximum(1 - np.clip(expected, 0, 1), _ROUNDING),
    )
    growth = np.cumsum(np.log1p(bets * (np.clip(expected, 0, 1) - losses)), axis=1)
    in_the_end = population * kappas - after[:, -1]  # what the undrawn losses must add up to
    is_true = (expected < -_ROUNDING).any(axis=1) | (in_the_end < -_ROUNDING)
    is_false = (expected > 1 + _ROUNDING).any(axis=1)
    is_false |= in_the_end > population - count + _ROUNDING
    wins = growth.max(axis=1) >= -math.log(error)
    rejected: NDArray[np.bool_] = (wins | is_false) & ~is_true
    return rejected


def _plug_in_bets(losses: Numbers, after: Numbers, error: float) -> Numbers:
    """Return the bets that suit a sample of this size if the variance so far is the true one.

    Mean and variance start from one imaginary loss of 1/2 with a variance of 1/4, the maximum.
    """
    count = losses.shape[1]
    seen = np.arange(count) + 2  # including the imaginary loss
    deviations = np.square(losses - (0.5 + after) / seen)
    variances = np.full_like(losses, 0.25)
    variances[:, 1:] = ((0.25 + np.cumsum(deviations, axis=1)) / seen)[:, :-1]
    bets: Numbers = np.sqrt(2 * math.log(1 / error) / (count * variances))
    return bets
