"""Student's t against scipy."""

from __future__ import annotations

import pytest
from scipy.stats import t as student

from jobs.student import quantile, upper_tail


@pytest.mark.parametrize("freedom", [1, 3, 12, 28, 400])
@pytest.mark.parametrize("value", [-2.5, 0.0, 0.3, 2.0, 7.0])
def test_tail(value: float, freedom: int) -> None:
    """Far into the tail, where Holm and many cells lead."""
    assert upper_tail(value, freedom) == pytest.approx(student.sf(value, freedom), rel=1e-9)


@pytest.mark.parametrize("freedom", [2, 7, 28])
@pytest.mark.parametrize("upper", [0.025, 0.0025, 1e-5])
def test_quantile(upper: float, freedom: int) -> None:
    """The inverse."""
    assert quantile(upper, freedom) == pytest.approx(student.isf(upper, freedom), rel=1e-8)
