"""How much longer the same images take: a ratio of times, paired by image, with its interval.

Rounds of two runs are independent: the variance of each side counts. Rounds of one run took turns:
the variance of their differences counts. Images are the same on both sides: the gain of an image is
one sample of many. These variances add up; the degrees of freedom of their sum are by Welch and
Satterthwaite (Satterthwaite 1946, Biometrics Bulletin 2, 110-114). The interval and the p-value
come from one distribution: the interval contains "no difference" if p is at least 5 %.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jobs.statistics.autocorrelation import spread
from jobs.statistics.student_t import mixed_quantile, mixed_tail

_OUTSIDE = 0.05  # share outside a 95 % interval
_POINT = 1e-12  # a smaller standard error is rounding
_TINY = 1e-300  # floor of a squared variance, if nothing varied

Logs = NDArray[np.float64]
"""(..., rounds, images) logarithms of times or energies; both sides have the same images.
Leading axes are independent comparisons."""


@dataclass(frozen=True)
class LogRatio:
    """The mean logarithm of second over first, and its uncertainty.

    Attributes:
        value: (...) over all rounds and images.
        errors: (..., G) its standard error, for each autocorrelation that rounds may have.
        freedom: (..., G) the degrees of freedom of this error.
        weights: (..., G) the probability of each autocorrelation.
    """

    value: Logs
    errors: Logs
    freedom: Logs
    weights: Logs

    @property
    def is_known(self) -> bool:
        """Whether anything varied: if not, the error of the value is unknown."""
        return bool(np.all(self.errors > _POINT))

    def p_value(self, share: float = 1.0) -> Logs:
        """Return the two-sided p-value of no difference; valid if `is_known`.

        Args:
            share: part of the error that may be spent, if rounds ended when they were looked at.
        """
        tail = mixed_tail(np.abs(self.value), self.errors, self.freedom, self.weights)
        return np.minimum(2 * tail / share, 1.0)

    def interval(self, share: float = 1.0) -> tuple[Logs, Logs]:
        """Return the ends of the 95 % interval; valid if `is_known`. `share`: as for `p_value`."""
        outside = _OUTSIDE * share
        reach = mixed_quantile(outside / 2, self.errors, self.freedom, self.weights)
        return self.value - reach, self.value + reach


def log_ratio(first: Logs, second: Logs, *, are_paired: bool = False) -> LogRatio:
    """Estimate the logarithm of second over first.

    Args:
        first: (..., R1, N), at least two rounds in the order in which they ran, at least one image.
        second: (..., R2, N), the same images.
        are_paired: whether round i of both ran in turns; then R1 = R2.
    """
    sides = [second - first] if are_paired else [first, second]
    spreads = [spread(side.mean(axis=-1)) for side in sides]
    rounds = [
        (each.variances, side.shape[-2] - 1) for each, side in zip(spreads, sides, strict=True)
    ]
    images = (_variance_of_images(first, second, sides)[..., None], max(first.shape[-1] - 1, 1))
    evidence = _total(each.evidence for each in spreads)
    likely = np.exp(evidence - evidence.max(axis=-1, keepdims=True))
    return LogRatio(
        second.mean(axis=(-2, -1)) - first.mean(axis=(-2, -1)),
        np.sqrt(_total(variance for variance, _ in [*rounds, images])),
        # Otherwise rounds alike by chance would get the many degrees of freedom of the images.
        np.minimum(_freedom(rounds), _freedom([*rounds, images])),
        likely / likely.sum(axis=-1, keepdims=True),
    )


def _freedom(parts: Sequence[tuple[Logs, int]]) -> Logs:
    """Return the degrees of freedom of a sum of variances, each of which has its own."""
    squares = _total(variance**2 / freedom for variance, freedom in parts)
    sum_of = _total(variance for variance, _ in parts)
    least = float(min(freedom for _, freedom in parts))
    return np.maximum(sum_of**2 / np.maximum(squares, _TINY), least)


def _total(parts: Iterable[Logs]) -> Logs:
    total: Logs = functools.reduce(np.add, parts)
    return total


def _variance_of_images(first: Logs, second: Logs, sides: list[Logs]) -> Logs:
    """Return the variance that images add to the value; 0 if rounds explain how they differ."""
    images = first.shape[-1]
    if images == 1:
        return np.zeros(first.shape[:-2])
    gains = second.mean(axis=-2) - first.mean(axis=-2)
    expected = _total(_residual_variance(side) / side.shape[-2] for side in sides)
    added: Logs = np.maximum(gains.var(axis=-1, ddof=1) - expected, 0.0) / images
    return added


def _residual_variance(side: Logs) -> Logs:
    """Return the variance left after removing the level of each round and of each image."""
    rounds, images = side.shape[-2:]
    left = side - side.mean(axis=-1, keepdims=True) - side.mean(axis=-2, keepdims=True)
    left = left + side.mean(axis=(-2, -1), keepdims=True)
    residual: Logs = (left**2).sum(axis=(-2, -1)) / ((rounds - 1) * (images - 1))
    return residual


def percent(log: float) -> float:
    """Convert a log ratio to a change in percent: 0.05 is 5.13 % more."""
    return 100 * math.expm1(log)
