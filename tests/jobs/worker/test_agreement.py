"""Answers held against the reference's: hand-worked differences, flips, NaN and infinity."""

from __future__ import annotations

import math

import numpy as np
import pytest

from jobs.worker.agreement import Agreement, compare_exits, compare_routes
from jobs.worker.timing import Measured

NAN, INF = math.nan, math.inf
LAST = 9


def exits(*logits: list[list[float]]) -> np.ndarray:
    """(E, n, K) logits."""
    return np.array(logits, dtype=np.float32)


def scores(*of_gates: list[float]) -> np.ndarray:
    """(E - 1, n) scores."""
    return np.array(of_gates, dtype=np.float32)


def routed(*images: tuple[list[float], int, float]) -> Measured:
    """Images with their logits, where they left, and with which score."""
    return Measured(
        places=list(range(len(images))),
        logits=[np.array(logits, dtype=np.float32) for logits, _, _ in images],
        exit_blocks=[block for _, block, _ in images],
        gate_scores=[score for _, _, score in images],
    )


def test_every_exit_of_every_image_is_an_answer() -> None:
    """Two exits, three images, two classes: two answers flip, each of another image."""
    found = exits([[1, 0], [0, 1], [0.5, 0.25]], [[2, 1], [0, 3], [1, 2]])
    expected = exits([[1, 0], [1, 0.5], [0.5, 0.25]], [[2, 1], [0, 3], [2, 1.5]])
    agreement = compare_exits(found, scores([0.5, 0.25, 0]), expected, scores([0.5, 0.75, 0.125]))
    assert agreement == Agreement(
        images=3,
        max_logit_difference=1.0,
        answer_flips=2,
        exit_flips=None,
        max_gate_difference=0.5,
    )


def test_a_static_model_has_no_gate_to_differ() -> None:
    """One exit; NULL is not 0."""
    one = exits([[1, 0], [0, 1]])
    none = np.empty((0, 2), dtype=np.float32)
    assert compare_exits(one, none, one, none) == Agreement(2, 0.0, 0, None, None)


def test_routed_logits_are_compared_where_both_left_at_the_same_exit() -> None:
    """Four images: as before, another exit with another class, another exit alone, the last."""
    found = routed(([4, 1], 3, 0.75), ([0, 9], 3, 0.5), ([5, 0], LAST, NAN), ([1, 2], LAST, NAN))
    expected = routed(
        ([4, 1.5], 3, 0.5), ([9, 0], LAST, NAN), ([1, 0], 3, 1.0), ([2, 3], LAST, NAN)
    )
    assert compare_routes(found, expected, LAST) == Agreement(
        images=4,
        max_logit_difference=1.0,
        answer_flips=1,
        exit_flips=2,
        max_gate_difference=0.25,
    )


def test_where_all_left_elsewhere_there_is_nothing_to_compare() -> None:
    """Answers are compared all the same; nothing else is 0."""
    found, expected = routed(([1, 0], 3, 0.5)), routed(([1, 0], 5, 0.5))
    assert compare_routes(found, expected, LAST) == Agreement(1, None, 0, 1, None)


def test_no_gate_is_read_at_the_last_block() -> None:
    """Its NaN scores are not two gates that failed alike."""
    both = routed(([1, 0], LAST, NAN))
    assert compare_routes(both, both, LAST) == Agreement(1, 0.0, 0, 0, None)


@pytest.mark.parametrize(
    ("found", "expected", "difference", "flips"),
    [
        ([1, 0], [1, 0], 0.0, 0),
        ([NAN, 1], [NAN, 1], 0.0, 0),
        ([INF, 1], [INF, 1], 0.0, 0),
        ([-INF, 1], [-INF, 0.5], 0.5, 0),
        ([INF, 1], [-INF, 1], INF, 1),
        ([INF, 1], [3, 1], INF, 1),
        ([3, NAN], [0, 1], INF, 1),  # of both the second class is taken
        ([NAN, 1], [3, 1], INF, 1),  # of both the first
        ([3, 1], [NAN, 1], INF, 1),
        ([NAN, 1], [1, NAN], INF, 1),
    ],
)
def test_nan_and_infinity(
    found: list[float], expected: list[float], difference: float, flips: int
) -> None:
    """On both sides they agree; on one side they differ by infinity, and are a flip."""
    none = np.empty((0, 1), dtype=np.float32)
    agreement = compare_exits(exits([found]), none, exits([expected]), none)
    assert agreement.max_logit_difference == difference
    assert agreement.answer_flips == flips


def test_a_nan_gate_on_one_side_is_infinitely_far() -> None:
    """On both sides it is agreement."""
    one = exits([[1, 0]], [[1, 0]])
    for score, expected, difference in ((NAN, 0.5, INF), (0.5, NAN, INF), (NAN, NAN, 0.0)):
        agreement = compare_exits(one, scores([score]), one, scores([expected]))
        assert agreement.max_gate_difference == difference


def test_differences_are_not_rounded_to_float32() -> None:
    """The difference of two float32 numbers is taken in float64."""
    found, expected = exits([[2.0**24, 0]]), exits([[-1.0, 0]])
    none = np.empty((0, 1), dtype=np.float32)
    agreement = compare_exits(found, none, expected, none)
    assert agreement.max_logit_difference == 2**24 + 1
