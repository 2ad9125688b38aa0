"""Student's t distribution, and mixtures of it: tails and quantiles, to full precision.

Takes numbers, or arrays that broadcast, to compute many comparisons at once.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

_TERMS = 300
_ENOUGH = 1e-15
_STEPS = 200
_CLOSE = 1e-12  # relative error of a quantile

Numbers = NDArray[np.float64]

_log_gamma = np.frompyfunc(math.lgamma, 1, 1)


@overload
def upper_tail(t: float, freedom: float) -> float: ...
@overload
def upper_tail(t: Numbers, freedom: Numbers) -> Numbers: ...
def upper_tail(t: Any, freedom: Any) -> Any:
    """Return the probability of a value above t, with these degrees of freedom."""
    square = t * t
    x, rest = freedom / (freedom + square), square / (freedom + square)
    half = _incomplete_beta(x, rest, freedom / 2, 0.5) / 2
    return np.where(np.greater(t, 0), half, 1 - half)[()]


def mixed_tail(t: Numbers, scales: Numbers, freedom: Numbers, weights: Numbers) -> Numbers:
    """Return the probability of a value above t, under a mixture of t distributions around 0.

    Args:
        t: (...).
        scales: (..., G) of the distributions, above 0.
        freedom: (..., G) their degrees of freedom.
        weights: (..., G) the probability of each, sum 1.
    """
    tails: Numbers = (weights * upper_tail(t[..., None] / scales, freedom)).sum(axis=-1)
    return tails


def mixed_quantile(upper: float, scales: Numbers, freedom: Numbers, weights: Numbers) -> Numbers:
    """Return the value that such a mixture exceeds with probability `upper`, 0 < upper < 0.5.

    By Newton's method from 0: the tail is convex above 0, so no step overshoots.
    """
    peaks = weights / (scales * np.sqrt(freedom) * np.exp(_log_beta(freedom / 2, 0.5)))
    t = np.zeros(np.broadcast(scales, freedom, weights).shape[:-1])
    for _ in range(_STEPS):
        shapes = (1 + (t[..., None] / scales) ** 2 / freedom) ** (-(freedom + 1) / 2)
        excess = mixed_tail(t, scales, freedom, weights) - upper
        step = excess / (peaks * shapes).sum(axis=-1)
        t = t + step
        if np.all(np.abs(step) <= _CLOSE * t):
            break
    return t


@lru_cache
def quantile(upper: float, freedom: float) -> float:
    """Return the value that one distribution exceeds with probability `upper`, 0 < upper < 0.5."""
    one = np.ones(1)
    return float(mixed_quantile(upper, one, freedom * one, one))


def _log_beta(a: Any, b: Any) -> Any:
    return np.asarray(_log_gamma(a) + _log_gamma(b) - _log_gamma(a + b), np.float64)[()]


def _incomplete_beta(x: Any, rest: Any, a: Any, b: Any) -> Any:
    """Return the regularised incomplete beta function at x = 1 - rest.

    By its continued fraction, on the side where that converges.
    """
    is_near = x <= (a + 1) / (a + b + 2)
    z, first, second = (np.where(is_near, *each)[()] for each in ((x, rest), (a, b), (b, a)))
    # Powers, not logarithms: x or rest may be 0, as for t = 0.
    front = x**a * rest**b / np.exp(_log_beta(a, b))
    part = front * _fraction(z, first, second) / first
    return np.where(is_near, part, 1 - part)[()]


def _fraction(x: Any, a: Any, b: Any) -> Any:
    """Evaluate the continued fraction by Lentz's method; where it converges fast, no term is 0."""
    c, d = 1.0, 1 / (1 - (a + b) * x / (a + 1))
    value = d
    for m in range(1, _TERMS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for numerator in (even, odd):
            d = 1 / (1 + numerator * d)
            c = 1 + numerator / c
            value = value * (c * d)
        if np.all(np.abs(c * d - 1) < _ENOUGH):
            break
    return value
