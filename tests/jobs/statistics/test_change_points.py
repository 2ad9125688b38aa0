"""Steps: by hand, and against all ways to cut a short series."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from jobs.statistics.change_points import SHORTEST, levels, scatter


def test_a_step_by_hand() -> None:
    """Ten nights about 0 and six about 5: two levels, their medians, the place of the step."""
    wobble = np.tile([0.0, 0.5], 8)
    series = wobble + np.where(np.arange(16) < 10, 0.0, 5.0)
    assert levels(series) == [(0, 10, 0.25), (10, 16, 5.25)]


def test_one_bad_night_is_no_step() -> None:
    """However bad."""
    series = np.random.default_rng(1).normal(0, 1, 30)
    series[20] = 50
    assert len(levels(series)) == 1


def test_short_and_empty() -> None:
    """A series shorter than a level is one level; none of nothing; equal nights are one."""
    assert levels(np.array([])) == []
    assert levels(np.array([3.0, 4.0])) == [(0, 2, 3.5)]
    assert levels(np.full(12, 2.0)) == [(0, 12, 2.0)]


@pytest.mark.parametrize("seed", range(5))
def test_no_other_way_to_cut_is_cheaper(seed: int) -> None:
    """By trying all of them."""
    generator = np.random.default_rng(seed)
    series = generator.normal(0, 1, 13) + np.where(np.arange(13) < 6, 0, 3)
    price = 2 * scatter(series)

    def total(cuts: tuple[int, ...]) -> float:
        pieces = np.split(series, cuts)
        if min(map(len, pieces)) < SHORTEST:
            return np.inf
        return sum(np.abs(p - np.median(p)).sum() for p in pieces) + price * len(cuts)

    every = [cuts for steps in range(4) for cuts in combinations(range(1, 13), steps)]
    found = tuple(level.start for level in levels(series, penalty=2)[1:])
    assert total(found) == pytest.approx(min(map(total, every)))


def test_steps_that_are_not_there() -> None:
    """In 30 autocorrelated nights of one level, at most 1 of 100 series is cut."""
    generator = np.random.default_rng(2)
    cut = 0
    for _ in range(200):
        nights = generator.normal(0, 1, 30)
        for night in range(1, 30):
            nights[night] = 0.5 * nights[night - 1] + nights[night] * 0.75**0.5
        cut += len(levels(nights)) > 1
    assert cut <= 10
