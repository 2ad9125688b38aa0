"""Prediction, correctness and loss, by hand and against torch."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from jobs.answers import judge


def test_hand_worked_answers() -> None:
    """Probabilities 1/2, 1/4, 1/4: loss of the labels 0 and 2 is log 2 and log 4."""
    logits = np.log(np.array([[0.5, 0.25, 0.25], [0.5, 0.25, 0.25]], np.float32)) + 3
    answers = judge(logits, np.array([0, 2]))
    assert answers.prediction.tolist() == [0, 0]
    assert answers.is_correct.tolist() == [True, False]
    assert answers.is_top5.tolist() == [True, True]
    assert answers.loss == pytest.approx([math.log(2), math.log(4)], abs=1e-6)


def test_top5_counts_larger_logits() -> None:
    """The fifth largest counts, the sixth does not."""
    logits = np.tile(np.arange(7, dtype=np.float32), (2, 1))
    assert judge(logits, np.array([2, 1])).is_top5.tolist() == [True, False]


def test_nan_is_never_right_and_large_logits_do_not_overflow() -> None:
    """A model that broke scores nothing; its loss is NaN, not 0."""
    logits = np.array([[math.nan, 0.0], [0.0, math.nan], [2e30, 0.0]], np.float32)
    answers = judge(logits, np.array([0, 0, 0]))
    assert answers.is_correct.tolist() == [False, False, True]
    assert answers.is_top5.tolist() == [False, False, True]
    assert np.isnan(answers.loss[:2]).all()
    assert answers.loss[2] == 0


@given(st.integers(1, 20), st.integers(2, 12), st.integers(0, 99))
def test_answers_agree_with_torch(images: int, classes: int, seed: int) -> None:
    """Cross entropy, arg max and top 5 as torch has them."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(images, classes)).astype(np.float32) * 5
    labels = rng.integers(classes, size=images)
    tensor, targets = torch.from_numpy(logits), torch.from_numpy(labels)
    answers = judge(logits, labels)
    loss = torch.nn.functional.cross_entropy(tensor, targets, reduction="none")
    np.testing.assert_allclose(answers.loss, loss, rtol=1e-5, atol=1e-6)
    assert answers.prediction.tolist() == tensor.argmax(1).tolist()
    top = tensor.topk(min(5, classes), dim=1).indices
    assert answers.is_top5.tolist() == (top == targets[:, None]).any(1).tolist()
