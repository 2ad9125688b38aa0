"""Exit rules: each score by hand, on every engine, and routes against loops."""

from __future__ import annotations

import math

import pytest
import torch
from support import engines
from support.engines import put_on
from torch import Tensor

import gfnet
from gfnet.confidence import Confidence
from gfnet.routing import Streaks
from gfnet.runtimes import availability

RULES = [rule for rule in gfnet.EXIT_RULES if rule != "gate"]
HERE = [
    name
    for name in gfnet.RUNTIMES
    if name != "compile" and not availability.unavailable(name, "float32", "cpu")
]
LIMITS = {"max_prob": 0.6, "margin": 0.3, "entropy": 0.2, "patience": 2.0}


@pytest.fixture(scope="module")
def model() -> gfnet.GFNet:
    """Exits after three of four blocks."""
    return engines.with_exits(4)


def scores_of(rule: str, logits: Tensor) -> Tensor:
    """By loops in float64: (E, B, K) logits of the early exits."""
    found = torch.empty(logits.shape[:2])
    for image in range(logits.shape[1]):
        streak, before = 0, -1
        for exit_ in range(logits.shape[0]):
            values = logits[exit_, image].double().tolist()
            highest = max(values)
            shares = [math.exp(value - highest) for value in values]
            shares = [share / sum(shares) for share in shares]
            first, second, *_ = sorted(shares, reverse=True)
            entropy = -sum(share * math.log(share) for share in shares)
            prediction = values.index(highest)
            streak = streak + 1 if prediction == before else 1
            before = prediction
            found[exit_, image] = {
                "max_prob": first,
                "margin": first - second,
                "entropy": 1 - entropy / math.log(len(values)),
                "patience": streak,
            }[rule]
    return found


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", HERE)
@pytest.mark.parametrize("batch", [1, 7])
def test_scores_and_routes_by_hand(model: gfnet.GFNet, name: str, rule: str, batch: int) -> None:
    """Of every exit; an image leaves at the first whose score reaches the threshold."""
    ruled = gfnet.with_rule(model, rule)
    runtime = put_on(name, ruled, "float32")
    images = engines.images_of(batch, seed=batch)
    with torch.inference_mode():
        found = runtime.forward_exits(images)
        expected = scores_of(rule, found.logits[:-1])
        torch.testing.assert_close(found.gate_scores, expected, atol=1e-5, rtol=0)
        for limit in (LIMITS[rule], -math.inf, math.inf, 1.0, 3.0):
            routed = runtime.route(images, limit)
            for image in range(batch):
                scores = found.gate_scores[:, image].tolist()
                exit_ = next((at for at, score in enumerate(scores) if score >= limit), 3)
                assert routed.exit_block[image] == found.exit_blocks[exit_]
                torch.testing.assert_close(routed.logits[image], found.logits[exit_, image])
                score = scores[exit_] if exit_ < 3 else math.nan
                torch.testing.assert_close(
                    routed.gate_score[image], torch.tensor(score), equal_nan=True
                )


@pytest.mark.parametrize("rule", RULES)
def test_scores_are_those_of_the_rows(rule: str) -> None:
    """To the bit what the all-exit pass keeps of each exit, so that SQL replays the router."""
    generator = torch.Generator().manual_seed(0)
    logits = 5 * torch.randn(50, 10, generator=generator)
    score = Confidence(rule, 10)(logits)
    max_prob, entropy, margin, _ = gfnet.gate_features(logits).unbind(-1)
    share = torch.tensor(1 / math.log(10), dtype=torch.float32)
    expected = {
        "max_prob": max_prob,
        "margin": margin,
        "entropy": 1 - entropy * share,
        "patience": logits.argmax(-1).float(),
    }
    assert torch.equal(score, expected[rule])


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_logits_that_are_not_finite_have_no_score(rule: str, value: float) -> None:
    """And such an image does not exit."""
    assert Confidence(rule, 3)(torch.tensor([[value, 0.0, 1.0]])).isnan().all()


def test_a_streak_ends_where_there_is_no_prediction() -> None:
    """And begins anew after it; images that have exited are forgotten."""
    streaks = Streaks()
    assert streaks.count(torch.tensor([1.0, 2.0, 3.0])).tolist() == [1, 1, 1]
    second = streaks.count(torch.tensor([1.0, math.nan, 4.0])).tolist()
    assert (second[0], second[2]) == (2, 1)
    assert math.isnan(second[1])
    streaks.keep(torch.tensor([True, True, False]))
    assert streaks.count(torch.tensor([1.0, 2.0])).tolist() == [3, 1]


def test_a_rule_leaves_the_model_as_it_is(model: gfnet.GFNet) -> None:
    """The weights are shared; the model itself still asks its gates."""
    images = engines.images_of(3, seed=0)
    with torch.inference_mode():
        before = model.forward_exits(images)
        ruled = gfnet.with_rule(model, "margin")
        assert torch.equal(model.forward_exits(images).gate_scores, before.gate_scores)
        assert torch.equal(ruled.forward_exits(images).logits, before.logits)
        again = gfnet.with_rule(ruled, "gate").forward_exits(images)
    assert torch.equal(again.gate_scores, before.gate_scores)
    assert [*ruled.state_dict()] == [*model.state_dict()]
    assert next(ruled.parameters()) is next(model.parameters())


def test_an_unknown_rule_is_refused(model: gfnet.GFNet) -> None:
    """With those that there are."""
    with pytest.raises(ValueError, match="no exit rule 'max'; rules: gate, max_prob"):
        gfnet.with_rule(model, "max")
