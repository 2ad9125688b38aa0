"""How much longer the same images take: a ratio of times, paired by image, with its interval.

The rounds of two runs have nothing to do with each other, and are drawn for each side by itself;
those of one run took turns, and are drawn together. Images are the same on both sides, and are
drawn once for both. As in `jobs.choice.bootstrap`, what drawing rounds adds is stretched, since few
rounds look more alike than rounds are.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from jobs.choice.bootstrap import RESAMPLES, Estimate, stretch

_INTERVAL = (2.5, 97.5)  # percent
_WIDTH = 2 * NormalDist().inv_cdf(0.975)  # of a 95 % interval, in standard errors
_NORMAL = NormalDist()
_POINT = 1e-12  # a narrower interval is rounding

Logs = NDArray[np.float64]
"""(rounds, images) logarithms of times or energies; the same images in both of a comparison."""


def log_ratio(first: Logs, second: Logs, *, are_paired: bool = False, seed: int = 0) -> Estimate:
    """Estimate the logarithm of second over first, with its 95 % interval.

    Args:
        first: (R1, N), at least one round and one image.
        second: (R2, N), the same images.
        are_paired: round i of both ran in turns, R1 = R2.
        seed: of the resamples.

    Returns: the mean over images and rounds; NaN where a number is not finite.
    """
    if are_paired:
        return _estimate([second - first], [1.0], seed)
    return _estimate([first, second], [-1.0, 1.0], seed)


def _estimate(sides: list[Logs], signs: list[float], seed: int) -> Estimate:
    """A sum of means of sides, each with rounds of its own, all with the same images."""
    generator = np.random.default_rng(seed)
    images = sides[0].shape[1]
    value = sum(sign * side.mean() for sign, side in zip(signs, sides, strict=True))
    drawn_images = _shares(generator, images)
    drawn = np.zeros(RESAMPLES)
    for sign, side in zip(signs, sides, strict=True):
        by_image = _shares(generator, len(side)) @ side
        further = stretch(len(side)) - 1
        stretched = further * (by_image.mean(axis=1) - side.mean())
        drawn += sign * ((by_image * drawn_images).sum(axis=1) + stretched)
    low, high = np.percentile(drawn, _INTERVAL)
    return Estimate(float(value), float(low), float(high))


def _shares(generator: np.random.Generator, count: int) -> Logs:
    """(RESAMPLES, count) how much each counts in a resample of as many; each row sums to 1."""
    drawn = generator.integers(count, size=(RESAMPLES, count))
    drawn += count * np.arange(RESAMPLES)[:, None]
    counts = np.bincount(drawn.ravel(), minlength=RESAMPLES * count)
    return counts.reshape(RESAMPLES, count) / count


def p_value(estimate: Estimate) -> float | None:
    """Two-sided, of no difference: by the normal distribution that has this interval.

    A share of resamples could not be less than one of RESAMPLES, too coarse for a grid of cells.

    Returns: None where the interval is a point: nothing is known of how it varies.
    """
    error = (estimate.high - estimate.low) / _WIDTH
    if not error > _POINT:
        return None
    return 2 * _NORMAL.cdf(-abs(estimate.value) / error)


def percent(log: float) -> float:
    """What a log ratio means: 0.05 is 5.13 % more."""
    return 100 * math.expm1(log)
