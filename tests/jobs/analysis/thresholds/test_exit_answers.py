"""Exits, points and subsets of a small pass, worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from jobs.analysis.thresholds.exit_answers import ExitAnswers

NAN, INF = math.nan, math.inf


@pytest.fixture
def answers() -> ExitAnswers:
    """Five images, two gates after blocks 1 and 3, six blocks."""
    return ExitAnswers(
        gate_scores=np.array([[0.9, 0.1, 0.5, NAN, 0.3], [0.2, 0.8, NAN, NAN, 0.3]], np.float32),
        is_correct=np.array([[1, 0, 0, 1, 0], [1, 1, 0, 1, 0], [0, 1, 1, 1, 0]], np.bool_),
        exit_blocks=(1, 3, 5),
        costs=np.array([2.0, 4.0, 6.0]),
        cost_name="blocks",
    )


@pytest.mark.parametrize(
    ("thresholds", "exits"),
    [
        ((0.5, 0.5), [0, 1, 0, 2, 2]),
        ((INF, INF), [2, 2, 2, 2, 2]),
        ((-INF, INF), [0, 0, 0, 2, 0]),
        ((INF, -INF), [1, 1, 2, 2, 1]),
        ((INF, 0.3), [2, 1, 2, 2, 1]),
        ((0.9, 0.2), [0, 1, 2, 2, 1]),
    ],
)
def test_images_leave_where_their_score_reaches_the_threshold(
    answers: ExitAnswers, thresholds: tuple[float, ...], exits: list[int]
) -> None:
    """At the first such gate; a score equal to it does, NaN never does."""
    assert answers.exits_of(thresholds).tolist() == exits


def test_thresholds_are_compared_in_float32(answers: ExitAnswers) -> None:
    """0.9 reaches 0.9, although the float32 score is the smaller number as a double."""
    assert float(np.float32(0.9)) < 0.9 < float(np.float32(0.9)) + 1e-7
    assert answers.exits_of((0.9, INF))[0] == 0
    assert answers.point((0.9, INF)).thresholds == (float(np.float32(0.9)), INF)


def test_a_point_by_hand(answers: ExitAnswers) -> None:
    """Accuracy in percent, the mean cost, and how many leave where."""
    point = answers.point((0.5, 0.5))
    assert point.accuracy_pct == 60.0  # image 0 at the first exit, 1 at the second, 3 at the last
    assert point.cost == (2 + 4 + 2 + 6 + 6) / 5
    assert point.exit_counts == (2, 1, 2)


def test_none_leave_is_full_depth(answers: ExitAnswers) -> None:
    """Every image gets the last exit's answer at the last exit's cost."""
    point = answers.point(answers.none_leave)
    assert (point.accuracy_pct, point.cost, point.exit_counts) == (60.0, 6.0, (0, 0, 5))


def test_a_subset_keeps_the_order_of_its_rows(answers: ExitAnswers) -> None:
    """Each image goes the same way as among all."""
    rows = np.array([4, 1])
    part = answers.subset(rows)
    assert part.images == 2
    assert part.exits_of((0.5, 0.5)).tolist() == [2, 1]
    assert part.is_correct[:, 1].tolist() == answers.is_correct[:, 1].tolist()


def test_a_static_model_has_one_exit() -> None:
    """No gate, no threshold, one point."""
    static = ExitAnswers(
        np.empty((0, 2), np.float32), np.array([[True, False]]), (11,), np.array([12.0]), "blocks"
    )
    assert static.gates == 0
    assert static.point(()).exit_counts == (2,)


@pytest.mark.parametrize("thresholds", [(0.5,), (0.5, 0.5, 0.5), (0.5, NAN)])
def test_thresholds_that_do_not_fit(answers: ExitAnswers, thresholds: tuple[float, ...]) -> None:
    """One number a gate, and NaN is none."""
    with pytest.raises(ValueError, match="give one number per gate"):
        answers.exits_of(thresholds)


@pytest.mark.parametrize(
    ("scores", "costs", "message"),
    [
        (np.zeros((1, 2), np.float32), [1.0], "give \\(E - 1, N\\)"),
        (np.zeros((2, 2), np.float32), [1.0, 2.0], "give \\(E - 1, N\\)"),
        (np.zeros((1, 2), np.float64), [1.0, 2.0], "give float32"),
        (np.full((1, 2), INF, np.float32), [1.0, 2.0], "a gate score is infinite"),
        (np.zeros((1, 2), np.float32), [1.0, NAN], "give finite numbers from 0 on"),
        (np.zeros((1, 2), np.float32), [-1.0, 2.0], "give finite numbers from 0 on"),
    ],
)
def test_arrays_that_do_not_fit(scores: np.ndarray, costs: list[float], message: str) -> None:
    """Shapes, float32 and finite costs are checked before anything is computed."""
    with pytest.raises(ValueError, match=message):
        ExitAnswers(scores, np.ones((2, 2), np.bool_), (3, 7), np.array(costs), "forward_ms")
