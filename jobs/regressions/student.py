"""Student's t distribution: its tail and its quantiles, to full precision."""

from __future__ import annotations

import math
from functools import lru_cache

_TERMS = 300
_TINY = 1e-300
_ENOUGH = 1e-15
_HIGHEST = 1e6
_HALVINGS = 80


def upper_tail(t: float, freedom: float) -> float:
    """How likely a value above t is, with so many degrees of freedom."""
    x = freedom / (freedom + t * t)
    both = _incomplete_beta(x, freedom / 2, 0.5)
    return both / 2 if t > 0 else 1 - both / 2


@lru_cache
def quantile(upper: float, freedom: float) -> float:
    """Above which value so much of the distribution lies, 0 < upper < 0.5."""
    low, high = 0.0, _HIGHEST
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if upper_tail(middle, freedom) > upper else (low, middle)
    return (low + high) / 2


def _incomplete_beta(x: float, a: float, b: float) -> float:
    """Regularised; by its continued fraction, on the side where that converges fast."""
    if x in (0.0, 1.0):
        return x
    if x > (a + 1) / (a + b + 2):
        return 1 - _incomplete_beta(1 - x, b, a)
    log_front = (
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    )
    return math.exp(log_front) * _fraction(x, a, b) / a


def _fraction(x: float, a: float, b: float) -> float:
    """Lentz's way to evaluate it."""
    c, d = 1.0, 1 / (1 - (a + b) * x / (a + 1) or _TINY)
    value = d
    for m in range(1, _TERMS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for numerator in (even, odd):
            d = 1 / (1 + numerator * d or _TINY)
            c = 1 + numerator / c or _TINY
            value *= c * d
        if abs(c * d - 1) < _ENOUGH:
            break
    return value
