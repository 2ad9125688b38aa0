"""Promises about images not looked at: the test by betting, its bounds, and how often they hold."""

from __future__ import annotations

import importlib
import itertools
import math
import re
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from benchmarks.promises import validity
from jobs.analysis.thresholds import fixed_sequence
from jobs.analysis.thresholds.constraints import COST_TOLERANCE, Constraints, CostLimit
from jobs.analysis.thresholds.exit_answers import ExitAnswers
from jobs.analysis.thresholds.fixed_sequence import Split, certify_steps, choose_kappas
from jobs.analysis.thresholds.guarantee import NoGuaranteeError, guarantee
from jobs.analysis.thresholds.path import build_path
from jobs.analysis.thresholds.risks import Promise, list_promises
from jobs.statistics.betting import Numbers, rejects

INF = math.inf


def synthetic(images: int, gates: int, worse: float = 0.5, seed: int = 0) -> ExitAnswers:
    """Images of all difficulties; the first exit is wrong so much more often than the last."""
    rng = np.random.default_rng(seed)
    hard = rng.random(images)
    wrong = [0.1 + worse * (1 - exit_ / gates) for exit_ in range(gates + 1)]
    right = [rng.random(images) > 2 * hard * rate for rate in wrong]
    scores = np.clip(1 - hard + 0.2 * rng.standard_normal((gates, images)), 0, 1)
    blocks = tuple(range(11 - 3 * gates, 12, 3))
    return ExitAnswers(
        scores.astype(np.float32), np.array(right), blocks, np.array(blocks) + 1.0, "blocks"
    )


def uniform(images: int, early: bool, late: bool, score: float = 0.5) -> ExitAnswers:
    """All images alike: answered so at either exit, with one score."""
    return ExitAnswers(
        np.full((1, images), score, np.float32),
        np.repeat(np.array([[early], [late]]), images, axis=1),
        (3, 11),
        np.array([4.0, 12.0]),
        "blocks",
    )


def least_kept(trials: int, confidence: float) -> int:
    """What a binomial count with this success rate falls below in 1 % of cases only."""
    below = 0.0
    for count in range(trials + 1):
        ways = math.comb(trials, count)
        below += ways * confidence**count * (1 - confidence) ** (trials - count)
        if below > 0.01:
            return count
    return trials


@pytest.mark.parametrize(
    "population",
    [
        [0.0, 0.0, 0.0, 0.0, 1.0, 1.0],
        [0.5, 0.5, 0.5, 0.5, 0.5, 1.0],
        [0.0, 0.1, 0.2, 0.6, 0.9, 0.9],
        [0.4] * 6,
    ],
)
@pytest.mark.parametrize("error", [0.1, 0.4])
def test_over_all_orders_a_true_null_is_rejected_as_seldom_as_stated(
    population: list[float], error: float
) -> None:
    """All 720 orders of six losses, at the boundary, of which 1 to 5 are drawn."""
    orders = np.array(list(itertools.permutations(population)))
    kappas = np.full(len(orders), np.mean(population))
    for drawn in range(1, 6):
        assert rejects(orders[:, :drawn], 6, kappas, error).mean() <= error


@pytest.mark.parametrize("losses", [[0.0, 1.0], [0.0, 0.5, 0.5, 0.5, 0.5, 1.0], [0.9, 1.0, 0.1]])
def test_larger_populations_at_the_boundary(losses: list[float]) -> None:
    """600 samples of 120 from 300 images: rejections within what chance allows in 99 % of cases."""
    rng = np.random.default_rng(0)
    samples = rng.permuted(np.tile(np.resize(losses, 300), (600, 1)), axis=1)
    kappas = np.full(600, samples[0].mean())
    wrong = int(rejects(samples[:, :120], 300, kappas, 0.1).sum())
    assert 600 - wrong >= least_kept(600, 0.9)


def test_a_false_null_is_rejected() -> None:
    """A loss of a tenth is told from two tenths by a few hundred images, not by a few."""
    losses = (np.arange(600) % 10 == 0).astype(float)
    losses = np.random.default_rng(0).permutation(losses)[None]
    assert rejects(losses[:, :300], 600, np.array([0.2]), 0.1).all()
    assert not rejects(losses[:, :10], 600, np.array([0.2]), 0.1).any()


def test_what_is_certain_needs_no_bets() -> None:
    """Losses that exceed kappa already prove the null; too few left to reach it disprove it."""
    assert not rejects(np.ones((1, 5)), 100, np.array([0.04]), 0.5).any()
    assert rejects(np.zeros((1, 3)), 4, np.array([0.5]), 1e-6).all()
    assert not rejects(np.zeros((1, 3)), 4, np.array([0.0]), 0.5).any()
    assert not rejects(np.zeros((1, 0)), 4, np.array([0.5]), 0.5).any()


def test_a_greater_kappa_is_rejected_where_a_smaller_one_is() -> None:
    """Also where the bets are capped, and beyond 0 and 1."""
    rng = np.random.default_rng(0)
    for losses in (rng.random(40), rng.integers(0, 2, 40) / 1.0, np.full(40, 0.5)):
        kappas = np.linspace(-0.2, 1.2, 200)
        rejected = rejects(np.tile(losses, (200, 1)), 100, kappas, 0.1)
        assert (np.diff(rejected.astype(int)) >= 0).all()
        assert rejected[-1]
        assert not rejected[0]


def promise_of(losses: Numbers, bound: float) -> Promise:
    """A promise about one step: everybody is at the one exit."""
    return Promise("loss", bound, False, losses[None], bound, 1.0, 0.0, 1.0)


def test_the_bound_by_hand() -> None:
    """What is left of (n + m) kappa after the calibration images, shared by those held out."""
    losses = np.zeros(1000)
    losses[[201, 203]] = 1.0  # two calibration images
    split = Split(*np.split(np.arange(1000), [200, 500]))
    exits, nobody = np.zeros((1, 1000), np.intp), np.array([False])
    tested = certify_steps([promise_of(losses, 0.2)], exits, nobody, split, 0.1)
    (kappa,) = choose_kappas(losses[None, :200], 300, 500, 0.2, 0.1)
    assert kappa == pytest.approx(0.2 - 0.2 * 300 / 800)
    assert tested.bounds[0][0] == pytest.approx((800 * kappa - 2) / 500)
    assert tested.bounds[0][0] == pytest.approx(0.2 - 2 / 500)
    assert (tested.steps, tested.is_certified.tolist()) == (1, [True])


def test_kappa_leaves_room_at_the_limit() -> None:
    """Where the selection mean is at the limit, rejection and a sufficient bound both remain."""
    selection = (np.arange(1000) % 10 == 0).astype(float)[None]
    (kappa,) = choose_kappas(selection, 600, 900, 0.1, 0.1)
    variance = (0.09 * 1000 + 0.25) / 1001
    reach = math.sqrt(2 * math.log(10) * variance / 600 * 900 / 1500)
    rejected_up_to, sufficient_from = kappa - reach, (1500 * kappa - 900 * 0.1) / 600
    assert kappa == pytest.approx(0.1 - 2 * reach * 600 / 900)
    assert rejected_up_to - sufficient_from == pytest.approx(reach)


def test_the_first_failure_ends_the_test() -> None:
    """A good step behind a bad one is not certified."""
    losses = np.stack([np.zeros(1000), np.ones(1000)])
    promise = Promise("loss", 0.5, False, losses, 0.5, 1.0, 0.0, 1.0)
    split = Split(*np.split(np.arange(1000), [200, 500]))
    exits = np.array([0, 1, 0], np.intp)[:, None].repeat(1000, axis=1)
    tested = certify_steps([promise], exits, np.zeros(3, np.bool_), split, 0.1)
    assert tested.is_certified.tolist() == [True, False, False]
    assert tested.steps == 2


def test_constraints_as_losses() -> None:
    """Each limits a mean of losses from 0 to 1, and says it in its own unit again."""
    answers = uniform(4, early=False, late=True)
    energy = CostLimit("energy_mj", 35.0, (20.0, 50.0))
    asked = Constraints(max_drop=10.0, min_accuracy_pct=70.0, max_cost=10.0, cost_limits=(energy,))
    found = {it.name: it for it in list_promises(answers, asked)}
    assert list(found) == ["max_drop", "min_accuracy_pct", "max_blocks", "max_energy_mj"]
    assert [it.is_cost for it in found.values()] == [False, False, True, True]
    assert found["max_drop"].losses[:, 0].tolist() == [1.0, 0.5]
    assert found["min_accuracy_pct"].losses[:, 0].tolist() == [1.0, 0.0]
    assert found["max_blocks"].losses[:, 0].tolist() == [0.0, 1.0]
    for it in found.values():
        assert it.in_unit(it.bound) == pytest.approx(it.promised)
    assert found["max_energy_mj"].bound == pytest.approx(0.5)


def test_a_promise_field_by_field() -> None:
    """What is limited, in its own unit and as a loss; what is known where none leaves."""
    answers = uniform(4, early=False, late=True)
    limit = CostLimit("energy_mj", 1e6, (2e6, 0.0))
    asked = Constraints(max_drop=10.0, min_accuracy_pct=70.0, cost_limits=(limit,))
    drop, accuracy, energy = list_promises(answers, asked)
    assert (drop.promised, drop.full_depth, drop.offset, drop.scale) == (10.0, 0.5, -100.0, 200.0)
    assert drop.bound == pytest.approx(0.55)
    assert (accuracy.promised, accuracy.full_depth) == (70.0, 1.0)
    assert (accuracy.offset, accuracy.scale) == (100.0, -100.0)
    assert accuracy.bound == pytest.approx(0.3)
    assert (energy.promised, energy.full_depth) == (1e6, 0.0)
    assert (energy.offset, energy.scale) == (0.0, 2e6)
    assert energy.bound == pytest.approx(0.5 * (1 + COST_TOLERANCE), rel=1e-14)
    assert energy.losses.tolist() == [[1.0] * 4, [0.0] * 4]
    assert energy.ceilings(np.array([True, False])).tolist() == [0.0, 1.0]
    (same,) = list_promises(answers, Constraints(cost_limits=(CostLimit("ms", 5.0, (3.0, 3.0)),)))
    assert (same.offset, same.scale, same.full_depth) == (3.0, 1.0, 0.0)
    assert not same.losses.any()
    assert same.bound == pytest.approx(2.0)


def test_a_path_falls_in_cost_from_none_to_all() -> None:
    """Its first step lets none leave, its last everybody; each is cheaper than the one before."""
    answers = synthetic(200, 2)
    path = build_path(answers)
    means = [answers.point(thresholds).cost for thresholds in path]
    assert path[0] == (INF, INF)
    assert path[-1] == (-INF, -INF)
    assert all(after < before for before, after in itertools.pairwise(means[:-1]))
    assert len(path) > 20


PROMISES = (
    Constraints(max_drop=15.0),
    Constraints(min_accuracy_pct=75.0),
    Constraints(max_cost=9.0),
    Constraints(max_drop=35.0, max_cost=10.0),
)


@pytest.mark.parametrize("asked", PROMISES)
def test_a_promise_with_its_bounds(asked: Constraints) -> None:
    """Every bound is within what is promised, and the three parts are all the images."""
    answers = synthetic(1500, 2)
    made = guarantee(answers, asked)
    assert sum(made.images) == 1500
    assert made.images == (300, 450, 750)
    assert list(made.promised) == list(made.bounds)
    for name, promised in made.promised.items():
        bound = made.bounds[name]
        assert (bound >= promised) if name == "min_accuracy_pct" else (bound <= promised + 1e-6)
    assert made.held_out.thresholds == made.thresholds
    assert made.is_kept == (not asked.missed(answers.subset(_held_out(1500)), made.held_out))
    assert 1 <= made.certified_steps <= made.tested_steps


def _held_out(images: int) -> np.ndarray:
    return np.random.default_rng(0).permutation(images)[images // 2 :]


def test_the_same_seed_promises_the_same() -> None:
    """The split is all that is random, and it comes from the seed."""
    answers, asked = synthetic(600, 1), Constraints(max_drop=20.0)
    assert guarantee(answers, asked, seed=3) == guarantee(answers, asked, seed=3)
    assert guarantee(answers, asked, seed=3) != guarantee(answers, asked, seed=4)


@pytest.mark.parametrize(
    ("asked", "splits"), [(Constraints(max_drop=12.0), 200), (Constraints(max_cost=10.0), 40)]
)
def test_promises_hold_as_often_as_stated(asked: Constraints, splits: int) -> None:
    """Within what chance allows in 99 % of cases; and something is saved."""
    counted = validity(synthetic(1000, 1), asked, confidence=0.9, splits=splits)
    assert counted.total == splits
    assert counted.kept >= least_kept(splits, 0.9)
    assert counted.promised > 0.75 * splits
    assert counted.mean_cost < 11.5


def test_a_sequence_of_true_nulls_errs_as_seldom_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight steps at the boundary: in 300 splits any of them is rejected in a tenth at most."""
    rng = np.random.default_rng(0)
    losses = rng.permuted(np.tile(np.arange(400) < 80, (8, 1)), axis=1).astype(float)

    def at_the_boundary(selection: Numbers, *_: float) -> Numbers:
        mean: Numbers = (80 - selection.sum(axis=1)) / (400 - selection.shape[1])
        return mean

    monkeypatch.setattr(fixed_sequence, "choose_kappas", at_the_boundary)
    promise = Promise("loss", 0.9, False, losses, 0.9, 1.0, 0.0, 1.0)
    exits, nobody = np.arange(8)[:, None].repeat(400, axis=1), np.zeros(8, np.bool_)
    splits = [Split.draw(400, (0.2, 0.4), seed) for seed in range(300)]
    tests = [certify_steps([promise], exits, nobody, split, 0.1) for split in splits]
    wrong = sum(test.steps > 1 for test in tests)
    assert 0 < wrong <= 300 - least_kept(300, 0.9)


@pytest.mark.parametrize(
    ("asked", "errors"),
    [
        (Constraints(max_drop=35.0, max_cost=10.0), [0.05, 0.05]),
        (Constraints(max_drop=35.0, min_accuracy_pct=40.0), [0.1]),
        (Constraints(max_cost=10.0), [0.1]),
    ],
)
def test_the_error_is_shared_between_accuracy_and_cost(
    asked: Constraints, errors: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two tests that each err as seldom as is allowed would err twice as often together."""
    module = importlib.import_module("jobs.analysis.thresholds.guarantee")
    given: list[float] = []

    def noted(*arguments: Any) -> fixed_sequence.Tested:
        given.append(arguments[-1])
        return certify_steps(*arguments)

    monkeypatch.setattr(module, "certify_steps", noted)
    guarantee(synthetic(1500, 2), asked, confidence=0.9)
    assert given == pytest.approx(errors)


def test_images_that_are_all_alike() -> None:
    """A harmless exit is promised and taken; a harmful one is not, and nothing is lost."""
    harmless = guarantee(uniform(400, early=True, late=True), Constraints(max_drop=5.0))
    assert harmless.held_out.exit_counts == (200, 0)
    harmful = guarantee(uniform(400, early=False, late=True), Constraints(max_drop=5.0))
    assert harmful.thresholds == (INF,)
    assert harmful.bounds == {"max_drop": 0.0}
    assert harmful.is_kept


def test_none_leave_needs_no_test_for_a_drop() -> None:
    """It cannot drop, however few the images; a better accuracy than at full depth is unknown."""
    answers = uniform(3, early=False, late=True)
    made = guarantee(answers, Constraints(max_drop=0.0))
    assert (made.thresholds, made.images, made.bounds) == ((INF,), (1, 1, 1), {"max_drop": 0.0})
    with pytest.raises(NoGuaranteeError):
        guarantee(answers, Constraints(max_drop=-1.0))


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (
            Constraints(min_accuracy_pct=99.0),
            "of [0-9]+ candidates 0 for accuracy are certified by",
        ),
        (Constraints(max_cost=1.0), r"of [0-9]+ candidates 0 for cost are certified by 300 calib"),
        (
            Constraints(max_drop=5.0, max_cost=9.0),
            r"for accuracy and [0-9]+ for cost.*none for both",
        ),
    ],
)
def test_impossible_promises_are_refused(asked: Constraints, message: str) -> None:
    """The message says what was asked and which test certified how many candidates."""
    with pytest.raises(NoGuaranteeError, match=message) as refusal:
        guarantee(synthetic(1000, 2), asked)
    assert str(refusal.value).startswith("no thresholds can be guaranteed to have ")


def test_images_without_a_score_stay() -> None:
    """Where all gates are NaN nobody leaves: no cost is saved, and none is promised."""
    answers = uniform(300, early=True, late=True, score=math.nan)
    assert guarantee(answers, Constraints(max_drop=5.0)).held_out.exit_counts == (0, 150)
    with pytest.raises(NoGuaranteeError):
        guarantee(answers, Constraints(max_cost=8.0))


def test_a_cost_that_nobody_can_exceed_is_promised() -> None:
    """A limit at the dearest exit needs no test; accuracy alone then decides."""
    made = guarantee(uniform(9, early=False, late=True), Constraints(max_cost=12.0))
    assert made.held_out.accuracy_pct == 100.0
    assert made.bounds == {"max_blocks": 12.0}


def test_a_static_model() -> None:
    """Its only point is promised, or nothing is."""
    answers = ExitAnswers(
        np.empty((0, 200), np.float32), np.ones((1, 200), np.bool_), (11,), np.array([12.0]), "ms"
    )
    assert guarantee(answers, Constraints(min_accuracy_pct=80.0)).thresholds == ()
    with pytest.raises(NoGuaranteeError):
        guarantee(answers, Constraints(max_cost=11.0))


def test_what_cannot_be_asked() -> None:
    """Nothing limited, a confidence that is none, or no image to hold out."""
    answers = uniform(10, early=True, late=True)
    with pytest.raises(ValueError, match=r"0 constraints with confidence 0.9"):
        guarantee(answers, Constraints())
    with pytest.raises(ValueError, match="1 constraints with confidence 1"):
        guarantee(answers, Constraints(max_drop=1.0), confidence=1.0)
    with pytest.raises(ValueError, match=r"2 images in shares of 0.2 and 0.3 leave none"):
        guarantee(uniform(2, early=True, late=True), Constraints(max_drop=1.0))


def test_a_promise_not_made_is_not_broken() -> None:
    """Splits that promise nothing are counted as kept and told apart."""
    asked = Constraints(min_accuracy_pct=90.0)
    counted = validity(uniform(30, early=False, late=False), asked, confidence=0.9, splits=3)
    assert counted[:3] == (3, 3, 0)
    assert math.isnan(counted.mean_cost)


def test_what_is_assumed_where_nothing_is_said() -> None:
    """A confidence of 90 %, a fifth to select, three tenths to calibrate, seed 0."""
    answers, asked = synthetic(600, 1), Constraints(max_drop=20.0)
    said = guarantee(answers, asked, confidence=0.9, shares=(0.2, 0.3), seed=0)
    assert guarantee(answers, asked) == said
    assert said.confidence == 0.9
    assert said.promised == {"max_drop": 20.0}


@pytest.mark.parametrize("asked", PROMISES)
def test_a_guarantee_part_by_part(asked: Constraints) -> None:
    """What its thresholds come to on each part, and which of the certified ones they are."""
    answers = synthetic(1500, 2)
    made = guarantee(answers, asked, seed=2)
    split = Split.draw(1500, (0.2, 0.3), 2)
    parts = {name: answers.subset(getattr(split, name)) for name in split._fields}
    for name, part in parts.items():
        assert getattr(made, name) == part.point(made.thresholds)
    path = build_path(parts["selection"])
    assert made.path_steps == len(path)
    exits = np.stack([answers.exits_of(thresholds) for thresholds in path])
    nobody = np.array([set(thresholds) == {INF} for thresholds in path])
    promises = list_promises(answers, asked)
    accuracy = [it for it in promises if not it.is_cost]
    costs = [it for it in promises if it.is_cost]
    error = 0.1 / (bool(accuracy) + bool(costs))
    certified, steps = np.ones(len(path), np.bool_), 0
    bounds: dict[str, Any] = {}
    if accuracy:
        test = certify_steps(accuracy, exits, nobody, split, error)
        certified &= test.is_certified
        steps += test.steps
        bounds |= dict(zip((it.name for it in accuracy), test.bounds, strict=True))
    if costs:
        test = certify_steps(costs, exits[::-1], nobody[::-1], split, error)
        certified &= test.is_certified[::-1]
        steps += test.steps
        bounds |= dict(zip((it.name for it in costs), (b[::-1] for b in test.bounds), strict=True))
    assert (made.tested_steps, made.certified_steps) == (steps, certified.sum())
    points = [parts["selection"].point(path[step]) for step in np.flatnonzero(certified)]
    if accuracy:
        best = min(points, key=lambda point: (point.cost, -point.accuracy_pct))
    else:
        best = min(points, key=lambda point: (-point.accuracy_pct, point.cost))
    assert made.selection == best
    chosen = path.index(made.thresholds)
    for promise in promises:
        assert made.bounds[promise.name] == promise.in_unit(bounds[promise.name][chosen])


def test_the_best_of_what_is_certified() -> None:
    """Where accuracy is limited the cheapest, and of equal costs the most accurate; else turned."""
    rank = importlib.import_module("jobs.analysis.thresholds.guarantee")._rank
    points = [
        SimpleNamespace(cost=cost, accuracy_pct=accuracy)
        for cost in (3.0, 1.0, 2.0)
        for accuracy in (80.0, 90.0, 70.0)
    ]
    for asked in (Constraints(max_drop=1.0), Constraints(min_accuracy_pct=50.0, max_cost=9.0)):
        best = min(points, key=lambda point: rank(point, asked))
        assert (best.cost, best.accuracy_pct) == (1.0, 90.0)
        order = sorted(points, key=lambda point: rank(point, asked))
        assert [it.cost for it in order] == [1.0] * 3 + [2.0] * 3 + [3.0] * 3
        assert [it.accuracy_pct for it in order[:3]] == [90.0, 80.0, 70.0]
    order = sorted(points, key=lambda point: rank(point, Constraints(max_cost=9.0)))
    assert [it.accuracy_pct for it in order] == [90.0] * 3 + [80.0] * 3 + [70.0] * 3
    assert [it.cost for it in order[:3]] == [1.0, 2.0, 3.0]


def test_a_promise_that_was_broken_is_told() -> None:
    """Held out images either keep all constraints or not; here one confidence in five allows it."""
    answers, asked = synthetic(120, 1), Constraints(max_drop=12.0)
    kept = []
    for seed in range(40):
        made = guarantee(answers, asked, confidence=0.2, seed=seed)
        split = Split.draw(120, (0.2, 0.3), seed)
        kept.append(made.is_kept)
        assert made.is_kept == (not asked.missed(answers.subset(split.held_out), made.held_out))
    assert len(set(kept)) == 2


def test_many_splits_are_counted_one_by_one() -> None:
    """From the seed on; the mean cost is of those that promise anything."""
    answers, asked = synthetic(200, 1), Constraints(min_accuracy_pct=73.0)
    kept, costs = 0, []
    for seed in range(5, 25):
        try:
            made = guarantee(answers, asked, confidence=0.6, seed=seed)
        except NoGuaranteeError:
            kept += 1
            continue
        kept += made.is_kept
        costs.append(made.held_out.cost)
    counted = validity(answers, asked, confidence=0.6, splits=20, seed=5)
    assert counted[:3] == (kept, 20, len(costs))
    assert 0 < len(costs) < 20
    assert counted.mean_cost == pytest.approx(np.mean(costs))


@pytest.mark.parametrize("confidence", [0.0, 1.0, -0.5, 1.5])
def test_a_confidence_is_between_0_and_1(confidence: float) -> None:
    """Neither end can be had."""
    said = (
        rf"^1 constraints with confidence {confidence:g}; give at least one, and a confidence"
        r" between 0 and 1$"
    )
    with pytest.raises(ValueError, match=said):
        guarantee(
            uniform(9, early=True, late=True), Constraints(max_drop=1.0), confidence=confidence
        )


def test_a_refusal_word_for_word() -> None:
    """What was asked, how many were certified for each, by how many images, what to do."""
    answers = synthetic(1000, 2)
    with pytest.raises(NoGuaranteeError) as refusal:
        guarantee(answers, Constraints(max_drop=5.0, max_cost=9.0), confidence=0.95)
    assert re.fullmatch(
        r"no thresholds can be guaranteed to have a drop of at most 5 points and mean blocks of at"
        r" most 9 with a confidence of 0\.95: of \d+ candidates [1-9]\d* for accuracy and"
        r" [1-9]\d* for cost are certified, none for both by 300 calibration images; loosen the"
        r" constraints, or evaluate more images",
        str(refusal.value),
    )
    with pytest.raises(NoGuaranteeError) as refusal:
        guarantee(synthetic(4000, 2), Constraints(max_cost=1.0))
    assert re.fullmatch(
        r"no thresholds can be guaranteed to have mean blocks of at most 1 with a confidence"
        r" of 0\.9: of \d+ candidates 0 for cost are certified by 1,200 calibration images; loosen"
        r" the constraints, or evaluate more images",
        str(refusal.value),
    )


def test_a_split_cuts_a_random_order() -> None:
    """By shares of all, rounded, one image at least; each image is in one part."""
    split = Split.draw(10, (0.24, 0.36), 3)
    assert [len(part) for part in split] == [2, 4, 4]
    order = np.random.default_rng(3).permutation(10)
    assert np.concatenate(split).tolist() == order.tolist()
    assert [len(part) for part in Split.draw(3, (0.1, 0.1), 0)] == [1, 1, 1]
    with pytest.raises(
        ValueError,
        match=r"^5 images in shares of 0\.5 and 0\.7 leave none to hold out; give more images, or"
        r" smaller shares$",
    ):
        Split.draw(5, (0.5, 0.7), 0)
    with pytest.raises(ValueError, match="leave none"):
        Split.draw(4, (0.5, 0.5), 0)


def test_bounds_of_what_needs_no_test() -> None:
    """A step that lets nobody leave has the loss of full depth, whatever the images say."""
    losses = np.stack([np.zeros(100), np.ones(100)])
    promise = Promise("loss", 0.5, False, losses, 0.5, 0.25, 0.0, 1.0)
    split = Split(*np.split(np.arange(100), [20, 50]))
    exits = np.array([1, 0, 1], np.intp)[:, None].repeat(100, axis=1)
    tested = certify_steps([promise], exits, np.array([True, False, False]), split, 0.1)
    assert tested.is_certified.tolist() == [True, True, False]
    assert tested.steps == 3
    assert tested.bounds[0][0] == 0.25
    at_the_limit = Promise("loss", 0.25, False, losses, 0.25, 0.25, 0.0, 1.0)
    tested = certify_steps([at_the_limit], exits, np.array([True, False, False]), split, 0.1)
    assert tested.is_certified[0]


def test_every_promise_must_hold_of_a_step() -> None:
    """One of two that fails ends the test for both; each has its bound."""
    good, bad = np.zeros((2, 100)), np.stack([np.zeros(100), np.ones(100)])
    promises = [Promise("loss", 0.9, False, it, 0.9, 1.0, 0.0, 1.0) for it in (good, bad)]
    split = Split(*np.split(np.arange(100), [20, 60]))
    exits = np.array([0, 1, 0], np.intp)[:, None].repeat(100, axis=1)
    for order in (promises, promises[::-1]):
        tested = certify_steps(order, exits, np.zeros(3, np.bool_), split, 0.1)
        assert (tested.is_certified.tolist(), tested.steps) == ([True, False, False], 2)
        assert len(tested.bounds) == 2


def test_a_bound_beyond_one_promise_certifies_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though its test rejects, and whichever promise comes last."""

    def kappas(selection: Numbers, _drawn: int, _others: int, bound: float, _: float) -> Numbers:
        return np.full(len(selection), 0.9 if bound == 0.5 else 0.4)

    monkeypatch.setattr(fixed_sequence, "choose_kappas", kappas)
    beyond, within = promise_of(np.zeros(100), 0.5), promise_of(np.zeros(100), 0.9)
    split = Split(*np.split(np.arange(100), [20, 60]))
    for promises, certified in (
        ([within], True),
        ([beyond, within], False),
        ([within, beyond], False),
    ):
        exits = np.zeros((1, 100), np.intp)
        tested = certify_steps(promises, exits, np.array([False]), split, 0.1)
        assert tested.is_certified.tolist() == [certified]
