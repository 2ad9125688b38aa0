"""Prediction, correctness and loss, by hand and against torch."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import storage
from jobs.worker.predictions import collect_predictions


def test_hand_worked_answers() -> None:
    """Probabilities 1/2, 1/4, 1/4: loss of the labels 0 and 2 is log 2 and log 4."""
    logits = np.log(np.array([[0.5, 0.25, 0.25], [0.5, 0.25, 0.25]], np.float32)) + 3
    answers = collect_predictions(logits, np.array([0, 2]))
    assert answers.prediction.tolist() == [0, 0]
    assert answers.is_correct.tolist() == [True, False]
    assert answers.is_top5.tolist() == [True, True]
    assert answers.loss == pytest.approx([math.log(2), math.log(4)], abs=1e-6)


def test_top5_counts_larger_logits() -> None:
    """The fifth largest counts, the sixth does not."""
    logits = np.tile(np.arange(7, dtype=np.float32), (2, 1))
    assert collect_predictions(logits, np.array([2, 1])).is_top5.tolist() == [True, False]


def test_of_equal_logits_the_lower_class_is_first() -> None:
    """Of a constant over 1,000 classes the first five are the top 5, the first is the answer."""
    labels = np.array([0, 4, 5, 999])
    answers = collect_predictions(np.zeros((4, 1000), np.float32), labels)
    assert answers.prediction.tolist() == [0] * 4
    assert answers.is_correct.tolist() == [True, False, False, False]
    assert answers.is_top5.tolist() == [True, True, False, False]
    assert answers.loss == pytest.approx(math.log(1000))


def test_equals_behind_the_label_do_not_count() -> None:
    """Three larger, one equal before the label: the fifth; with two equals before it, the sixth."""
    logits = np.array([9, 1, 9, 1, 9, 1, 1], np.float32)
    answers = collect_predictions(np.tile(logits, (4, 1)), np.array([1, 3, 5, 6]))
    assert answers.is_top5.tolist() == [True, True, False, False]


@pytest.mark.parametrize(
    ("classes", "is_top5"), [(3, [None] * 3), (5, [None] * 3), (6, [True] * 3)]
)
def test_top5_of_five_classes_or_fewer_is_null(classes: int, is_top5: list[bool | None]) -> None:
    """Every class is in it, so it says nothing of the model; the other columns stay."""
    answers = collect_predictions(np.zeros((3, classes), np.float32), np.arange(3))
    table = storage.build_table("exits", answers.columns())
    assert table.column("is_top5").to_pylist() == is_top5
    assert table.column("is_correct").to_pylist() == [True, False, False]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", [0, 1])
def test_logits_that_are_not_finite_are_no_answer(value: float, place: int) -> None:
    """At the label or not: NULL in the rows, with a loss of NaN; a finite row stays."""
    logits = np.array([[0.0, 1.0], [0.0, 1.0]], np.float32)
    logits[0, place] = value
    table = storage.build_table("exits", collect_predictions(logits, np.array([1, 1])).columns())
    broken, whole = table.to_pylist()
    assert [broken[name] for name in ("prediction", "is_correct", "is_top5")] == [None] * 3
    assert math.isnan(broken["loss"])
    assert [whole[name] for name in ("prediction", "is_correct")] == [1, True]
    assert whole["loss"] == pytest.approx(math.log1p(math.exp(-1)))


def test_large_logits_do_not_overflow() -> None:
    """Far beyond what exp can take; a loss that float32 cannot hold is no answer."""
    answers = collect_predictions(
        np.array([[2e30, 0.0]] * 2 + [[3e38, -3e38]], np.float32), np.array([0, 1, 1])
    )
    assert answers.is_correct.tolist() == [True, False, False]
    assert answers.is_top5.tolist() == [True, True, False]
    assert answers.loss[:2].tolist() == [0, np.float32(2e30)]
    assert np.isnan(answers.loss[2])


@given(st.integers(1, 20), st.integers(2, 12), st.integers(0, 99))
def test_ties_are_ordered_as_by_a_stable_sort(images: int, classes: int, seed: int) -> None:
    """Few values, so that most are equals: the classes sorted by logit, equals by their index."""
    rng = np.random.default_rng(seed)
    logits = rng.integers(3, size=(images, classes)).astype(np.float32)
    labels = rng.integers(classes, size=images)
    answers = collect_predictions(logits, labels)
    for row, label in enumerate(labels):
        order = sorted(range(classes), key=lambda each: (-logits[row, each], each))
        assert answers.prediction[row] == order[0]
        assert answers.is_correct[row] == (label == order[0])
        assert answers.is_top5[row] == (label in order[:5])


@given(st.integers(1, 20), st.integers(2, 12), st.integers(0, 99))
def test_answers_agree_with_torch(images: int, classes: int, seed: int) -> None:
    """Cross entropy, arg max and top 5 as torch has them."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(images, classes)).astype(np.float32) * 5
    labels = rng.integers(classes, size=images)
    tensor, targets = torch.from_numpy(logits), torch.from_numpy(labels)
    answers = collect_predictions(logits, labels)
    loss = torch.nn.functional.cross_entropy(tensor, targets, reduction="none")
    np.testing.assert_allclose(answers.loss, loss, rtol=1e-5, atol=1e-6)
    assert answers.prediction.tolist() == tensor.argmax(1).tolist()
    top = tensor.topk(min(5, classes), dim=1).indices
    assert answers.is_top5.tolist() == (top == targets[:, None]).any(1).tolist()
