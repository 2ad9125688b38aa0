"""Bands over many operating points: exact drops, and how often all of them cover the truth."""

from __future__ import annotations

import math

import numpy as np
import pytest

from jobs.analysis.thresholds.bands import MOST_POINTS, bands
from jobs.analysis.thresholds.exit_answers import ExitAnswers


def _answers(images: int, seed: int) -> ExitAnswers:
    """An early exit that is right for 70 %, a last one for 80 %, scores that know nothing."""
    generator = np.random.default_rng(seed)
    return ExitAnswers(
        gate_scores=generator.random((1, images), np.float32),
        is_correct=generator.random((2, images)) < np.array([[0.7], [0.8]]),
        exit_blocks=(0, 1),
        costs=np.array([1.0, 2.0]),
        cost_name="blocks",
    )


def test_drops_are_exact_and_full_depth_has_none() -> None:
    """Where nobody leaves, nothing is lost, and that is certain."""
    answers = _answers(300, 0)
    none, half, every = bands(answers, [(math.inf,), (0.5,), (-math.inf,)])
    assert none == (0, 0, 0)
    full = answers.point(answers.none_leave).accuracy_pct
    for band, threshold in ((half, 0.5), (every, -math.inf)):
        assert band.drop == pytest.approx(full - answers.point((threshold,)).accuracy_pct)
        assert band.low < band.drop < band.high


def test_one_point_has_the_interval_of_a_mean() -> None:
    """1.96 standard errors of the paired differences."""
    answers = _answers(2000, 1)
    (band,) = bands(answers, [(-math.inf,)])
    lost = 100.0 * (answers.is_correct[1].astype(int) - answers.is_correct[0])
    assert band.high - band.drop == pytest.approx(1.96 * lost.std() / math.sqrt(2000), rel=0.1)


def test_all_points_are_covered_at_once() -> None:
    """Of 100 data sets about 95: the true drop at t is (1 - t) * 10 points."""
    points = [(t,) for t in np.linspace(0, 1, 11).tolist()]
    covered = 0
    for seed in range(100):
        found = bands(_answers(200, seed), points)
        covered += all(
            band.low <= 10 * (1 - t) <= band.high for band, (t,) in zip(found, points, strict=True)
        )
    # Of 95 % coverage, fewer than 86 of 100 would be seen once in 5,000 times.
    assert covered >= 86


def test_too_many_points_are_refused() -> None:
    """With how many are allowed."""
    with pytest.raises(ValueError, match=f"give 1 to {MOST_POINTS}"):
        bands(_answers(10, 0), [(0.5,)] * (MOST_POINTS + 1))
