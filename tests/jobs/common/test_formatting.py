"""Values as they are read and typed back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.common.formatting import format_float32, format_threshold


@given(st.floats(width=32, allow_nan=False))
def test_a_threshold_reads_back_as_the_same_float32(value: float) -> None:
    """Also without an end, and where six digits would round it up beyond the score."""
    assert np.float32(float(format_float32(value))) == np.float32(value)


@pytest.mark.parametrize(
    ("value", "text"), [(0.5, "0.5"), (0.613, "0.613"), (0.27070886, "0.27070886"), (0.1, "0.1")]
)
def test_with_few_digits(value: float, text: str) -> None:
    """As somebody writes them."""
    assert format_float32(float(np.float32(value))) == text
    row = {"threshold": None, "thresholds": [float(np.float32(value)), float("inf")]}
    assert format_threshold(row) == f"[{text}, inf]"
