"""The search against an oracle that tries every combination of scores."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.analysis.thresholds import search as searching
from jobs.analysis.thresholds.constraints import Constraints, CostLimit
from jobs.analysis.thresholds.coordinate_descent import descend_from_all
from jobs.analysis.thresholds.exit_answers import ExitAnswers, OperatingPoint
from jobs.analysis.thresholds.search import NoChoiceError, search
from jobs.analysis.thresholds.tally import Tally

INF = math.inf

costs = st.integers(0, 40).map(lambda eighths: eighths / 8)  # exact, so that equal costs are equal


@st.composite
def passes(draw: st.DrawFn, gates: st.SearchStrategy[int], most: int = 6) -> ExitAnswers:
    """A few images with few distinct scores, so that many are equal, and some NaN."""
    count, images = draw(gates), draw(st.integers(1, most))
    score = st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.75, 1.0, math.nan])
    row = st.lists(score, min_size=images, max_size=images)
    scores = draw(st.lists(row, min_size=count, max_size=count))
    right = st.lists(st.booleans(), min_size=images, max_size=images)
    return ExitAnswers(
        np.array(scores, np.float32).reshape(count, images),
        np.array(draw(st.lists(right, min_size=count + 1, max_size=count + 1)), np.bool_),
        tuple(range(2, 3 + count)),
        np.array(draw(st.lists(costs, min_size=count + 1, max_size=count + 1))),
        "forward_ms",
    )


@st.composite
def askings(draw: st.DrawFn, answers: ExitAnswers) -> Constraints:
    """Some constraints, often ones that can just be met."""
    exits = len(answers.exit_blocks)
    energy = tuple(draw(st.lists(costs, min_size=exits, max_size=exits)))
    limits = draw(
        st.lists(costs.map(lambda limit: CostLimit("energy_mj", limit, energy)), max_size=1)
    )
    return Constraints(
        max_drop=draw(st.none() | st.sampled_from([-20.0, 0.0, 20.0, 50.0])),
        min_accuracy_pct=draw(st.none() | st.sampled_from([0.0, 50.0, 100.0])),
        max_cost=draw(st.none() | costs),
        cost_limits=tuple(limits),
    )


def all_points(answers: ExitAnswers) -> list[OperatingPoint]:
    """Every combination of distinct scores and +inf."""
    values = [[*np.unique(row[~np.isnan(row)]).tolist(), INF] for row in answers.gate_scores]
    return [answers.point(thresholds) for thresholds in itertools.product(*values)]


def rank(point: OperatingPoint, asked: Constraints) -> tuple[float, float]:
    """What is sought, then what decides between equal ones; smaller is better."""
    if asked.limits_accuracy:
        return point.cost, -point.accuracy_pct
    return -point.accuracy_pct, point.cost


def feasible(
    points: list[OperatingPoint], answers: ExitAnswers, asked: Constraints
) -> list[OperatingPoint]:
    """Those that miss nothing."""
    return [point for point in points if not asked.missed(answers, point)]


@settings(max_examples=120)
@given(st.data())
def test_exact_search_finds_what_the_oracle_finds(data: st.DataObject) -> None:
    """With no gate to three; where nothing is feasible it says so and names the nearest point."""
    answers = data.draw(passes(st.integers(0, 3)))
    asked = data.draw(askings(answers))
    allowed = feasible(all_points(answers), answers, asked)
    if not allowed:
        with pytest.raises(NoChoiceError, match="no thresholds have") as refusal:
            search(answers, asked)
        assert asked.missed(answers, refusal.value.nearest)
        return
    choice = search(answers, asked)
    assert choice.is_exact
    assert not asked.missed(answers, choice.point)
    assert rank(choice.point, asked) == min(rank(point, asked) for point in allowed)
    assert choice.point == answers.point(choice.point.thresholds)


@settings(max_examples=60)
@given(st.data())
def test_the_heuristic_is_no_worse_than_a_shared_threshold(data: st.DataObject) -> None:
    """It satisfies the constraints wherever one threshold for all gates does, and is as good."""
    answers = data.draw(passes(st.integers(2, 3)))
    asked = data.draw(askings(answers))
    scores = np.unique(answers.gate_scores[~np.isnan(answers.gate_scores)]).tolist()
    shared = [answers.point((value,) * answers.gates) for value in [*scores, INF]]
    allowed = feasible(shared, answers, asked)
    found = descend_from_all(Tally.of(answers, asked))
    if allowed:
        point = answers.point(found.thresholds)
        assert not asked.missed(answers, point)
        assert rank(point, asked) <= min(rank(other, asked) for other in allowed)


@settings(max_examples=60)
@given(st.data())
def test_thresholds_are_scores_or_infinite_where_nobody_leaves(data: st.DataObject) -> None:
    """Each is a float32 score of its own gate, and somebody leaves there."""
    answers = data.draw(passes(st.integers(1, 3)))
    point = search(answers, Constraints(max_drop=20.0)).point
    for gate, threshold in enumerate(point.thresholds):
        if point.exit_counts[gate]:
            assert threshold in answers.gate_scores[gate].tolist()
        else:
            assert threshold == INF


def synthetic(images: int, gates: int, seed: int = 0) -> ExitAnswers:
    """Images of all difficulties; later exits are right more often, and gates somewhat know."""
    rng = np.random.default_rng(seed)
    hard = rng.random(images)
    right = [rng.random(images) > hard * (0.8 - 0.6 * exit_ / gates) for exit_ in range(gates + 1)]
    scores = np.clip(1 - hard + 0.25 * rng.standard_normal((gates, images)), 0, 1)
    blocks = tuple(range(11 - 2 * gates, 12, 2))
    return ExitAnswers(
        scores.astype(np.float32), np.array(right), blocks, np.array(blocks) + 1.0, "blocks"
    )


ASKED = (
    Constraints(max_drop=2.0),
    Constraints(max_drop=8.0),
    Constraints(max_cost=9.5),
    Constraints(max_drop=8.0, max_cost=11.0),
)


@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize("seed", range(3))
def test_the_heuristic_comes_near_the_exact_answer(asked: Constraints, seed: int) -> None:
    """With three gates, within 2 % of the cost or one image of 60."""
    answers = synthetic(60, 3, seed)
    exact = search(answers, asked)
    found = answers.point(descend_from_all(Tally.of(answers, asked)).thresholds)
    assert exact.is_exact
    assert not asked.missed(answers, found)
    if asked.limits_accuracy:
        assert exact.point.cost <= found.cost <= 1.02 * exact.point.cost
    else:
        assert exact.point.accuracy_pct - 1.7 <= found.accuracy_pct <= exact.point.accuracy_pct


def test_the_method_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """How many combinations were tried; else from how many starts."""
    asked = Constraints(max_drop=2.0)
    static = ExitAnswers(
        np.empty((0, 1), np.float32), np.array([[True]]), (11,), np.array([12.0]), "blocks"
    )
    assert search(static, asked).method == "exact: no gates, nothing to choose"
    scores = np.array([[0.1, 0.2, 0.2], [0.1, 0.2, math.nan]], np.float32)
    right, blocks = np.ones((3, 3), np.bool_), np.array([2.0, 4.0, 6.0])
    two = ExitAnswers(scores, right, (1, 3, 5), blocks, "blocks")
    one = ExitAnswers(scores[:1], right[:2], (1, 3), blocks[:2], "blocks")
    assert search(one, asked).method == "exact: every threshold (3)"
    assert search(two, asked).method == "exact: every pair of thresholds (3 x 3)"
    monkeypatch.setattr(searching, "MAX_EXACT_STEPS", 1)
    choice = search(two, asked)
    assert not choice.is_exact
    assert choice.method == (
        "heuristic: coordinate descent from 8 starts, exact in each coordinate; then pairs, one"
        " gate at 32 quantiles, the other exact"
    )


@pytest.mark.parametrize("limit", [searching.MAX_EXACT_STEPS, 1])
def test_the_order_of_the_images_does_not_matter(
    monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    """Neither to the exact search nor to the heuristic; and twice is the same."""
    monkeypatch.setattr(searching, "MAX_EXACT_STEPS", limit)
    answers, asked = synthetic(200, 2), Constraints(max_drop=3.0)
    shuffled = answers.subset(np.random.default_rng(1).permutation(200))
    assert search(answers, asked) == search(answers, asked) == search(shuffled, asked)


def test_equal_scores_leave_together() -> None:
    """No threshold lets one of two images with one score leave and not the other."""
    answers = ExitAnswers(
        np.array([[0.5, 0.5, 0.2]], np.float32),
        np.array([[True, False, False], [True, True, True]]),
        (3, 7),
        np.array([4.0, 8.0]),
        "blocks",
    )
    assert search(answers, Constraints(max_drop=0.0)).point.thresholds == (INF,)
    assert search(answers, Constraints(max_drop=34.0)).point.thresholds == (0.5,)


def test_equal_costs_are_equal_in_any_order_of_adding() -> None:
    """Leaving at either gate costs the same 0.1 ms, no binary number: accuracy decides."""
    rng = np.random.default_rng(0)
    scores = rng.permuted(np.tile(np.linspace(0, 1, 40), (2, 1)), axis=1).astype(np.float32)
    right = rng.random((3, 40)) > 0.5
    answers = ExitAnswers(scores, right, (1, 3, 5), np.array([0.1, 0.1, 0.7]), "forward_ms")
    asked = Constraints(min_accuracy_pct=0.0)
    cheapest = [point for point in all_points(answers) if point.exit_counts[-1] == 0]
    best = max(point.accuracy_pct for point in cheapest)
    assert search(answers, asked).point.accuracy_pct == best


def test_without_constraints_the_most_accurate_point() -> None:
    """Where early exits know better, images leave early; else none do without need."""
    answers = synthetic(100, 1)
    best = max(point.accuracy_pct for point in all_points(answers))
    assert search(answers, Constraints()).point.accuracy_pct == best


def test_why_nothing_satisfies() -> None:
    """The message says what was asked, how it was sought, and what the nearest point misses."""
    answers = ExitAnswers(
        np.array([[0.5, 0.25]], np.float32),
        np.array([[True, False], [True, True]]),
        (3, 7),
        np.array([4.0, 8.0]),
        "blocks",
    )
    with pytest.raises(NoChoiceError) as refusal:
        search(answers, Constraints(max_drop=0.0, max_cost=5.5))
    assert str(refusal.value) == (
        "no thresholds have a drop of at most 0 points and mean blocks of at most 5.5 on these 2"
        " images (exact: every threshold (3)); at the nearest, [0.5], mean blocks is 6, above 5.5"
    )
    assert refusal.value.nearest == answers.point((0.5,))
