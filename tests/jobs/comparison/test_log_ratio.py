"""The ratio of times paired by image: by hand, and how often its interval holds the truth."""

from __future__ import annotations

import numpy as np
import pytest

from jobs.choice.bootstrap import stretch
from jobs.comparison.log_ratio import log_ratio, p_value, percent


def test_images_that_differ_do_not_matter() -> None:
    """Images of 1 ms and of 9 ms, both 5 % slower in one round: the interval is a point."""
    first = np.log([[1.0, 9.0, 3.0]])
    estimate = log_ratio(first, first + np.log(1.05))
    assert percent(estimate.value) == pytest.approx(5)
    assert estimate.low == pytest.approx(estimate.high)
    assert p_value(estimate) is None


def test_two_rounds_by_hand() -> None:
    """One side of rounds 0 and 2: of four draws one is twice the first, one twice the second."""
    first, second = np.zeros((2, 50)), np.repeat([[0.0], [2.0]], 50, axis=1)
    estimate = log_ratio(first, second)
    assert estimate == pytest.approx((1, 1 - stretch(2), 1 + stretch(2)))
    assert p_value(estimate) == pytest.approx(
        0.8307, rel=1e-3
    )  # of 1.96 / stretch(2) = 0.2138 errors


def test_rounds_in_turns_are_paired() -> None:
    """What moves both sides of a round alike is no difference."""
    drift = np.array([[0.0], [3.0], [-2.0], [1.0]])
    first = drift + np.zeros((4, 20))
    apart = log_ratio(first, first + 0.1)
    paired = log_ratio(first, first + 0.1, are_paired=True)
    assert paired == pytest.approx((0.1, 0.1, 0.1))
    assert apart.high - apart.low > 3


@pytest.mark.parametrize("rounds", [3, 8])
def test_the_interval_holds_the_truth(rounds: int) -> None:
    """Rounds vary by 2 %, images by 5 % beside; truth 3 %: in about 95 % of 400 comparisons."""
    generator = np.random.default_rng(5)
    images = generator.normal(1, 0.5, size=60)
    held = 0
    for seed in range(400):
        sides = [
            images
            + level
            + generator.normal(0, 0.02, size=(rounds, 1))
            + generator.normal(0, 0.05, size=(rounds, 60))
            for level in (0.0, 0.03)
        ]
        estimate = log_ratio(*sides, seed=seed)
        held += estimate.low <= 0.03 <= estimate.high
    # Two sides of three rounds each have four degrees of freedom, not two: somewhat too wide.
    assert 368 <= held <= 400
