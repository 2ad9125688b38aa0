"""Thresholds that satisfy their constraints on unseen images, with a stated confidence.

Risk control for early exits as in Jazbec et al. (Fast yet safe, 2024, arXiv:2405.20915), by
Learn-then-Test (Angelopoulos et al., 2021). Here the promise is about the held-out images
themselves, not about a distribution that they might come from. A promise on cost is one on where
images exit: the cost of an exit is taken as given.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jobs.analysis.thresholds.constraints import Constraints
from jobs.analysis.thresholds.exit_answers import ExitAnswers, OperatingPoint, Vector
from jobs.analysis.thresholds.fixed_sequence import ROUNDING, Split, Tested, certify_steps
from jobs.analysis.thresholds.path import build_path
from jobs.analysis.thresholds.risks import Promise, list_promises
from jobs.common.errors import JobsError

SHARES = (0.2, 0.3)
"""Shares of the images for selection and for calibration; the others are held out."""


class NoGuaranteeError(JobsError):
    """No thresholds can be promised to satisfy the constraints; the message says why."""


@dataclass(frozen=True)
class Guarantee:
    """Thresholds, what is promised for them, and whether the held-out images keep it.

    Attributes:
        thresholds: one per gate; -inf: every image with a score exits there.
        confidence: the minimum share of random splits in which the promise holds.
        promised: each constraint's limit, by name.
        bounds: by the same names, the certified limit: the mean over the held-out images is no
            worse.
        is_kept: whether the held-out images do satisfy every constraint.
        selection, calibration, held_out: results of the thresholds on the three parts.
        images: number of images in each part.
        path_steps: number of candidate vectors.
        tested_steps: number of tests made before one failed, from both ends if both apply.
        certified_steps: number of vectors certified to satisfy all constraints.
    """

    thresholds: Vector
    confidence: float
    promised: dict[str, float]
    bounds: dict[str, float]
    is_kept: bool
    selection: OperatingPoint
    calibration: OperatingPoint
    held_out: OperatingPoint
    images: tuple[int, int, int]
    path_steps: int
    tested_steps: int
    certified_steps: int


def guarantee(
    answers: ExitAnswers,
    constraints: Constraints,
    *,
    confidence: float = 0.9,
    shares: tuple[float, float] = SHARES,
    seed: int = 0,
) -> Guarantee:
    """Choose thresholds that satisfy the constraints on the held-out images.

    In at least `confidence` of all random splits, the mean over the held-out images satisfies all
    constraints. The selection images give a path of thresholds from the safest to the most
    aggressive. The calibration images test it: accuracy from the safest end, cost from the other.
    If both are limited, each test gets half of the error, and both must certify a step.

    Raises:
        NoGuaranteeError: no step is certified.
        ValueError: nothing is limited; the confidence is not between 0 and 1; too few images.
    """
    promises = list_promises(answers, constraints)
    if not promises or not 0 < confidence < 1:
        raise ValueError(
            f"{len(promises)} constraints with confidence {confidence:g}; give at least one, and a"
            " confidence between 0 and 1"
        )
    split = Split.draw(answers.images, shares, seed)
    selection = answers.subset(split.selection)
    path = build_path(selection)
    exits = np.stack([answers.exits_of(thresholds) for thresholds in path])
    tests = _test_path(promises, path, exits, split, 1 - confidence)
    certified = np.flatnonzero(np.logical_and.reduce([it.is_certified for it in tests]))
    if not certified.size:
        raise NoGuaranteeError(_refusal(answers, constraints, confidence, split, tests))
    points = [selection.point(path[step]) for step in certified]
    best = min(range(len(points)), key=lambda it: _rank(points[it], constraints))
    step, thresholds = certified[best], path[certified[best]]
    bounds = [bound[step] for test in tests for bound in test.bounds]
    losses = [it.losses[exits[step, split.held_out], split.held_out].mean() for it in promises]
    return Guarantee(
        thresholds=thresholds,
        confidence=confidence,
        promised={it.name: it.promised for it in promises},
        bounds={it.name: it.in_unit(float(x)) for it, x in zip(promises, bounds, strict=True)},
        is_kept=all(x <= it.bound + ROUNDING for it, x in zip(promises, losses, strict=True)),
        selection=points[best],
        calibration=answers.subset(split.calibration).point(thresholds),
        held_out=answers.subset(split.held_out).point(thresholds),
        images=(len(split.selection), len(split.calibration), len(split.held_out)),
        path_steps=len(path),
        tested_steps=sum(test.steps for test in tests),
        certified_steps=len(certified),
    )


def _test_path(
    promises: Sequence[Promise],
    path: Sequence[Vector],
    exits: NDArray[np.intp],
    split: Split,
    error: float,
) -> list[Tested]:
    """Test accuracy from the safest step on, and cost from the most aggressive one, if limited."""
    do_none_leave = np.array([set(thresholds) <= {math.inf} for thresholds in path])
    groups = [[it for it in promises if it.is_cost is is_cost] for is_cost in (False, True)]
    error /= sum(bool(group) for group in groups)
    tests = []
    for group, way in zip(groups, (slice(None), slice(None, None, -1)), strict=True):
        if group:
            test = certify_steps(group, exits[way], do_none_leave[way], split, error)
            bounds = tuple(bound[way] for bound in test.bounds)
            tests.append(Tested(test.steps, test.is_certified[way], bounds))
    return tests


def _rank(point: OperatingPoint, constraints: Constraints) -> tuple[float, float]:
    """Return the sort key of what is sought, as in `Constraints`; smaller is better."""
    if constraints.limits_accuracy:
        return point.cost, -point.accuracy_pct
    return -point.accuracy_pct, point.cost


def _refusal(
    answers: ExitAnswers,
    constraints: Constraints,
    confidence: float,
    split: Split,
    tests: Sequence[Tested],
) -> str:
    counts = [int(test.is_certified.sum()) for test in tests]
    names = ["accuracy"] * constraints.limits_accuracy + ["cost"]
    certified = " and ".join(f"{n} for {it}" for n, it in zip(counts, names, strict=False))
    return (
        f"no thresholds can be guaranteed to have {constraints.describe(answers)} with a confidence"
        f" of {confidence:g}: of {len(tests[0].is_certified)} candidates {certified} are certified"
        f"{', none for both' if all(counts) else ''} by {len(split.calibration):,} calibration"
        " images; loosen the constraints, or evaluate more images"
    )
