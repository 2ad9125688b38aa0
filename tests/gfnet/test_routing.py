"""Who leaves where, by hand: stages that count, instead of a model."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from gfnet.routing import Route, answer_stages, limits_of, route_stages


class Stage:
    """Adds 1 to every token, answers with tokens times 10, and scores as it is told.

    What it was given is kept; scores are by the image's number, the tokens' first digits.
    """

    def __init__(self, scores: Sequence[float] | None = None) -> None:
        self.scores = scores
        self.given: list[list[float]] = []

    def __call__(self, tokens: Tensor) -> tuple[Tensor, ...]:
        """Run it; the last one, without scores, gives logits alone."""
        self.given.append(tokens[:, 0].tolist())
        logits = tokens * 10
        if self.scores is None:
            return (logits,)
        numbers = (tokens[:, 0] // 100).long()
        return tokens + 1, logits, torch.tensor(self.scores)[numbers]


def images(count: int) -> Tensor:
    """Image n is 100 n; each stage that it has run adds 1."""
    return 100.0 * torch.arange(count)[:, None].expand(count, 2)


def test_each_leaves_where_its_score_reaches_the_limit() -> None:
    """Five images: 1 and 3 leave after block 2, 0 after 5, the rest last; none runs further."""
    first, second, last = Stage([0.1, 0.5, 0.4, 0.9, 0.2]), Stage([0.7, 0, 0.6, 0, 0.1]), Stage()
    routed = route_stages(images(5), [first, second, last], {2: 0.5, 5: 0.65}, 9)
    assert routed.exit_block.tolist() == [5, 2, 9, 2, 9]
    assert routed.exit_block.dtype == torch.int64
    assert routed.logits[:, 0].tolist() == [10.0, 1000.0, 2020.0, 3000.0, 4020.0]
    torch.testing.assert_close(
        routed.gate_score, torch.tensor([0.7, 0.5, math.nan, 0.9, math.nan]), equal_nan=True
    )
    assert first.given == [[0, 100, 200, 300, 400]]
    assert second.given == [[1, 201, 401]]
    assert last.given == [[202, 402]]


def test_where_all_have_left_nothing_runs() -> None:
    """At the first exit at once, or bit by bit; what they took along is complete."""
    last = Stage()
    at_once = route_stages(images(2), [Stage([0.5, 0.6]), last], {3: 0.5}, 9)
    assert at_once.exit_block.tolist() == [3, 3]
    assert at_once.gate_score.tolist() == pytest.approx([0.5, 0.6])
    assert at_once.logits[:, 1].tolist() == [0.0, 1000.0]
    stages = [Stage([0, 1.0]), Stage([1.0, 0]), last]
    one_by_one = route_stages(images(2), stages, {3: 0.5, 4: 0.5}, 9)
    assert one_by_one.exit_block.tolist() == [4, 3]
    assert last.given == []


def test_none_leaves_before_the_last_block() -> None:
    """Scores below the limit, or NaN: all run all, and have no score; so has an empty batch."""
    last = Stage()
    routed = route_stages(images(2), [Stage([0.49, math.nan]), last], {3: 0.5}, 9)
    assert routed.exit_block.tolist() == [9, 9]
    assert routed.exit_block.dtype == torch.int64
    assert routed.gate_score.isnan().all()
    assert routed.gate_score.dtype == torch.float32
    assert routed.logits[:, 0].tolist() == [10.0, 1010.0]
    assert last.given == [[1, 101]]
    half = route_stages(images(2).bfloat16(), [Stage()], {}, 9)
    assert (half.logits.dtype, half.gate_score.dtype) == (torch.bfloat16, torch.float32)
    assert route_stages(images(0), [Stage([1.0]), Stage()], {3: 0.0}, 9).exit_block.shape == (0,)


def test_a_route_says_who_stays() -> None:
    """Among those that were there before, and how many; whether anybody left."""
    route = Route(3)
    logits = torch.zeros(3, 2)
    assert route.leave(1, logits, torch.tensor([0.1, 0.2, 0.3]), 0.5) is False
    assert route.remaining == 3
    assert route.leave(2, logits, torch.tensor([0.1, 0.9, 0.3]), 0.5) is True
    assert (route.remaining, route.stays.tolist()) == (2, [True, False, True])
    assert route.leave(3, logits[:2], torch.tensor([0.1, 0.9]), 0.5) is True
    assert (route.remaining, route.stays.tolist()) == (1, [True, False])


def test_a_stage_for_each_limit() -> None:
    """One gate too many or too few is no model."""
    with pytest.raises(ValueError, match="zip"):
        route_stages(images(1), [Stage([0.0]), Stage()], {3: 0.5, 4: 0.5}, 9)


def test_every_exit_answers() -> None:
    """All stages run on all images; the last exit has no score."""
    stages = [Stage([0.25, 0.5]), Stage([0.75, 1.0]), Stage()]
    outputs = answer_stages(images(2), stages, [3, 6, 9])
    assert outputs.exit_blocks == (3, 6, 9)
    assert outputs.logits[..., 0].tolist() == [[0.0, 1000.0], [10.0, 1010.0], [20.0, 1020.0]]
    assert outputs.gate_scores.tolist() == [[0.25, 0.5], [0.75, 1.0]]


def test_a_model_without_gates_answers_once() -> None:
    """Its scores are none for each image, float32 as others' are."""
    outputs = answer_stages(images(2).bfloat16(), [Stage()], [9])
    assert outputs.logits.shape == (1, 2, 2)
    assert outputs.gate_scores.shape == (0, 2)
    assert outputs.gate_scores.dtype == torch.float32


@pytest.mark.parametrize(
    ("threshold", "expected"),
    [
        (0.1, [float(torch.tensor(0.1))] * 2),
        ([0.25, 1], [0.25, 1.0]),
        (torch.tensor([0.25, -math.inf]), [0.25, -math.inf]),
        (torch.tensor(0.5, dtype=torch.float64), [0.5, 0.5]),
    ],
)
def test_one_limit_a_gate(threshold: object, expected: list[float]) -> None:
    """Float32 values as Python numbers, by the gate's block."""
    limits = limits_of(threshold, [3, 6])
    assert list(limits.items()) == list(zip([3, 6], expected, strict=True))
    assert all(type(limit) is float for limit in limits.values())


@pytest.mark.parametrize(
    ("threshold", "message"),
    [
        ([0.5], r"^1 thresholds for 2 gates \(after blocks \[3, 6\]\); give one number, or one"),
        ([0.5] * 3, "^3 thresholds for 2 gates"),
        (math.nan, r"^a threshold is NaN; give numbers, \+inf or -inf$"),
        ([0.5, math.nan], "^a threshold is NaN"),
        ([[0.5], [0.5]], r"^give one threshold, or one per gate; found \[\[0.5\], \[0.5\]\]$"),
    ],
)
def test_thresholds_that_fit_no_gates(threshold: object, message: str) -> None:
    """The message says what was given and what is wanted."""
    with pytest.raises(ValueError, match=message):
        limits_of(threshold, (3, 6))
