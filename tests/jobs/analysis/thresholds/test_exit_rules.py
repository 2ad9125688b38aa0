"""Rules side by side: curves against every threshold one by one, and planted differences."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from jobs.analysis.thresholds.exit_answers import ExitAnswers
from jobs.analysis.thresholds.exit_rules import (
    LEVELS,
    Falling,
    RuleComparison,
    compare_rules,
    judge_gate,
)
from jobs.statistics.bootstrap import IntervalEstimate

BLOCKS = (1, 3, 5)


def answers_of(scores: np.ndarray, is_correct: np.ndarray) -> ExitAnswers:
    """A pass over three exits, by blocks."""
    costs = np.array(BLOCKS, np.float64) + 1
    return ExitAnswers(scores.astype(np.float32), is_correct, BLOCKS, costs, "blocks")


def compare(scores: dict[str, np.ndarray], is_correct: np.ndarray) -> RuleComparison:
    """Rules over the same predictions."""
    return compare_rules({}, {rule: answers_of(each, is_correct) for rule, each in scores.items()})


@pytest.mark.parametrize("seed", range(5))
def test_a_curve_is_every_threshold(seed: int) -> None:
    """Scores that are equal, that fall, and that are NaN; against one threshold after another."""
    generator = np.random.default_rng(seed)
    scores = generator.integers(6, size=(2, 50)) / 5
    scores[generator.random((2, 50)) < 0.1] = math.nan
    answers = answers_of(scores, generator.random((3, 50)) < 0.6)
    (curve,) = Falling(answers).curves(np.ones((1, 50)))
    assert curve.thresholds[0] == math.inf
    assert (np.diff(curve.thresholds) < 0).all()
    for threshold, blocks, accuracy in zip(*curve, strict=True):
        point = answers.point((threshold, threshold))
        assert (blocks, accuracy) == pytest.approx((point.cost, point.accuracy_pct))


def test_a_resample_is_a_pass_with_images_drawn_more_than_once() -> None:
    """The same curve as of a pass in which they are there as often, at its thresholds."""
    generator = np.random.default_rng(0)
    answers = answers_of(generator.random((2, 30)), generator.random((3, 30)) < 0.6)
    rows = generator.integers(30, size=30)
    counts = np.bincount(rows, minlength=30)[None].astype(np.float64)
    (drawn,) = Falling(answers).curves(counts)
    repeated = answers.subset(rows)
    for threshold, blocks, accuracy in zip(*drawn, strict=True):
        point = repeated.point((threshold, threshold))
        assert (blocks, accuracy) == pytest.approx((point.cost, point.accuracy_pct))


def test_between_points_is_a_mixture() -> None:
    """One image of two exits: half-way between 2 and 6 blocks, half the difference."""
    scores = np.array([[0.5], [0.1]])
    (curve,) = Falling(answers_of(scores, np.array([[True], [True], [False]]))).curves(
        np.ones((1, 1))
    )
    assert curve.accuracy_at(np.array([2.0, 4.0, 6.0])).tolist() == [100, 50, 0]


def planted(images: int, seed: int, gain: float) -> RuleComparison:
    """A pass in which every exit is right or wrong alike but the first, and scores that know.

    The first exit is right for half the images. A rule that knows lets those exit first, one that
    does not any; with `gain` the gate knows in that share of images.
    """
    generator = np.random.default_rng(seed)
    is_right = generator.random(images) < 0.5
    is_correct = np.stack([is_right, np.ones(images, bool), np.ones(images, bool)])
    blind = generator.random((2, images))
    knows = generator.random(images) < gain
    gate = generator.random((2, images))
    gate[0] = np.where(knows & ~is_right, gate[0] - 1, gate[0])
    return compare({"gate": gate, "max_prob": blind}, is_correct)


def test_a_gate_that_knows_wins() -> None:
    """By points, with an interval that excludes 0; the levels span what both can reach."""
    found = planted(2000, 0, gain=0.5)
    assert found.gain.low > 0
    assert found.gain.low < found.gain.value < found.gain.high
    assert (len(found.levels), found.levels[0], found.levels[-1]) == (LEVELS, 2, 6)


def test_no_difference_is_rarely_called_one() -> None:
    """Of 100 passes whose rules know nothing, some 5 have an interval without 0."""
    called = [
        not found.gain.low <= 0 <= found.gain.high
        for found in (planted(150, seed, gain=0) for seed in range(100))
    ]
    # Of 5 %, more than 12 of 100 would be seen once in 700 times.
    assert sum(called) <= 12


def test_equal_scores_gain_nothing() -> None:
    """To the bit."""
    generator = np.random.default_rng(1)
    scores = generator.random((2, 100))
    found = compare({"gate": scores, "max_prob": scores}, generator.random((3, 100)) < 0.5)
    assert found.gain == (0, 0, 0)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.1, 0.3, "the gate is better than max_prob: +0.20 points"),
        (-0.1, 0.5, "no difference between gate and max_prob is shown: +0.20 points"),
        (-0.5, -0.1, "the gate is worse than max_prob: -0.30 points"),
    ],
)
def test_one_line_judges_the_gate(low: float, high: float, verdict: str) -> None:
    """By whether the interval contains 0."""
    found = planted(20, 0, gain=0)
    found = replace(found, gain=IntervalEstimate((low + high) / 2, low, high))
    assert judge_gate(found).startswith(verdict)
    assert "mean over 2 to 6 blocks" in judge_gate(found)
