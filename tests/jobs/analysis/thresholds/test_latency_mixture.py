"""Composed latency: by hand, against direct resampling, and how far it varies."""

from __future__ import annotations

import numpy as np
import pytest

from jobs.analysis.thresholds.latency_mixture import compose


def test_a_mixture_by_hand() -> None:
    """Half of the images at 1..100 ms, half at 101..200 ms."""
    costs = np.stack([np.arange(1, 101), np.arange(101, 201)], axis=1).astype(float)
    estimates = compose([costs], [0.5, 0.5], [50, 90, 99])
    assert [it.value for it in estimates] == pytest.approx([100.5, 100, 180, 198])
    assert all(it.low <= it.value <= it.high for it in estimates)


def test_an_exit_where_nobody_leaves_counts_nowhere() -> None:
    """Neither in the mean nor as the largest time."""
    costs = np.array([[1.0, 1e9], [3.0, 1e9]])
    assert [it.value for it in compose([costs], [1, 0], [50, 100])] == [2, 1, 3]


def test_equal_times_are_known_exactly() -> None:
    """No interval without variation."""
    estimates = compose([np.full((20, 2), 2.0)] * 3, [0.3, 0.7], [50])
    assert estimates == [pytest.approx((2, 2, 2))] * 2


def test_the_interval_of_one_round_is_that_of_its_images() -> None:
    """1.96 standard errors of the mean, of which the bootstrap knows nothing."""
    costs = np.random.default_rng(3).exponential(2, size=(4000, 1))
    mean, *_ = compose([costs], [1], [])
    error = costs.std() / np.sqrt(len(costs))
    assert mean.high - mean.low == pytest.approx(2 * 1.96 * error, rel=0.15)


def test_rounds_that_differ_widen_the_interval() -> None:
    """Images say nothing of a drift between rounds; three rounds of 1, 2 and 3 ms do."""
    rounds = [np.full((1000, 1), float(ms)) for ms in (1, 2, 3)]
    mean, *_ = compose(rounds, [1], [])
    assert mean.value == 2
    assert mean.high - mean.low > 1


def test_an_interval_that_was_looked_at_is_wider() -> None:
    """To both sides by the same factor, and never below 0; the value is the same."""
    rounds = [np.full((1000, 2), float(ms)) for ms in (10, 11, 12)]
    planned, looked = (compose(rounds, [0.5, 0.5], [50], looked=looked) for looked in (1.0, 3.0))
    for before, after in zip(planned, looked, strict=True):
        assert after.value == before.value
        assert after.low == pytest.approx(max(before.value - 3 * (before.value - before.low), 0))
        assert after.high == pytest.approx(before.value + 3 * (before.high - before.value))
