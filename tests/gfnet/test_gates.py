"""Gate features by hand, and the gate's behaviour at the edges."""

from __future__ import annotations

import math

import torch

from gfnet.gates import UncertaintyGate, gate_features


def test_features_of_two_equal_classes() -> None:
    """Worked by hand: p = (1/2, 1/2)."""
    features = gate_features(torch.tensor([0.0, 0.0]))
    expected = torch.tensor([0.5, math.log(2), 0.0, math.log(2)])
    torch.testing.assert_close(features, expected)


def test_features_of_three_classes() -> None:
    """Worked by hand: p = (0.5, 0.3, 0.2); squares 0.25, 0.09, 0.04 renormalised by 0.38."""
    logits = torch.tensor([0.5, 0.3, 0.2]).log() + 7  # a shift changes nothing
    squares = [0.25 / 0.38, 0.09 / 0.38, 0.04 / 0.38]
    expected = torch.tensor(
        [
            0.5,
            -sum(p * math.log(p) for p in (0.5, 0.3, 0.2)),
            0.2,
            -sum(p * math.log(p) for p in squares),
        ]
    )
    torch.testing.assert_close(gate_features(logits), expected)


def test_certain_answers_have_no_entropy() -> None:
    """Probabilities that underflow to 0 give 0, not NaN."""
    features = gate_features(torch.tensor([[1e4, 0.0, -1e4]]))
    torch.testing.assert_close(features, torch.tensor([[1.0, 0.0, 1.0, 0.0]]))


def test_gate_is_a_sigmoid_of_a_linear_map() -> None:
    """Worked by hand: weights (1, 2, 3, 4), bias -1, at p = (1/2, 1/2)."""
    gate = UncertaintyGate()
    gate.load_state_dict(
        {
            "linear.weight": torch.tensor([[1.0, 2.0, 3.0, 4.0]]),
            "linear.bias": torch.tensor([-1.0]),
        }
    )
    raw = 0.5 + 2 * math.log(2) + 4 * math.log(2) - 1
    score = gate(torch.zeros(3, 2))
    torch.testing.assert_close(score, torch.full((3,), 1 / (1 + math.exp(-raw))))


def test_a_score_is_that_of_the_features() -> None:
    """The gate never builds its features; the answer is as if it did."""
    gate = UncertaintyGate()
    logits = 5 * torch.randn(200, 10, generator=torch.Generator().manual_seed(1))
    expected = torch.sigmoid(gate.linear(gate_features(logits)))[:, 0]
    torch.testing.assert_close(gate(logits), expected)


def test_nan_logits_give_a_nan_score_and_half_precision_a_float_one() -> None:
    """A broken exit shows as NaN, and the arithmetic is float32 throughout."""
    gate = UncertaintyGate()
    assert gate(torch.tensor([math.nan, 0.0])).isnan()
    assert gate(torch.zeros(2, 5, dtype=torch.bfloat16)).dtype == torch.float32


def test_a_gate_stays_float32_under_autocast() -> None:
    """Eight bits would make ties of scores, and flips at thresholds."""
    gate = UncertaintyGate()
    logits = torch.randn(50, 10, generator=torch.Generator().manual_seed(0))
    expected = gate(logits)
    with torch.autocast("cpu", torch.bfloat16):
        found = gate(logits)
    assert torch.equal(found, expected)
