"""The best thresholds under constraints: exact if feasible, otherwise by a named heuristic."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jobs.analysis.thresholds.constraints import Constraints
from jobs.analysis.thresholds.coordinate_descent import (
    Found,
    better,
    descend_from_all,
    describe_descent,
)
from jobs.analysis.thresholds.exit_answers import ExitAnswers, OperatingPoint, Vector
from jobs.analysis.thresholds.sweep import best_cut, cut_ends
from jobs.analysis.thresholds.tally import Tally, Totals
from jobs.common.errors import JobsError

MAX_EXACT_STEPS = 200_000_000
"""Image visits allowed in an exact search: all images per combination of the outer thresholds."""

SWEEP_OVERHEAD = 5_000
"""Cost of starting a sweep, on top of its images, in images."""


class NoChoiceError(JobsError):
    """No thresholds satisfy the constraints; `nearest` misses them least."""

    def __init__(self, message: str, nearest: OperatingPoint) -> None:
        self.nearest = nearest
        super().__init__(message)


@dataclass(frozen=True)
class Choice:
    """Thresholds that satisfy the constraints.

    Attributes:
        point: the thresholds, each a gate score or +inf, and their result on these images.
        method: how they were found, as text.
        is_exact: whether no thresholds can be better on these images.
    """

    point: OperatingPoint
    method: str
    is_exact: bool


def search(answers: ExitAnswers, constraints: Constraints) -> Choice:
    """Find the best thresholds under constraints; deterministic.

    One gate is solved by one sort; several by trying all combinations if that takes a few seconds,
    otherwise by coordinate descent.

    Raises:
        NoChoiceError: no thresholds were found that satisfy the constraints.
        ValueError: a limit does not have one cost per exit.
    """
    tally = Tally.of(answers, constraints)
    values = [len(np.unique(scores[order])) + 1 for scores, order in _scored(tally)]
    steps = math.prod(values[:-1]) * (answers.images + SWEEP_OVERHEAD)
    is_exact = steps <= MAX_EXACT_STEPS
    found = _Exhaustive(tally).best if is_exact else descend_from_all(tally)
    method = _describe_exact(values) if is_exact else describe_descent(answers.gates)
    point = answers.point(_without_unused(found.thresholds, answers))
    if found.key[0] > 0:
        raise NoChoiceError(_refusal(answers, constraints, point, method), point)
    return Choice(point, method, is_exact)


def _scored(tally: Tally) -> list[tuple[NDArray[np.float32], NDArray[np.intp]]]:
    return list(zip(tally.answers.gate_scores, tally.orders, strict=True))


def _describe_exact(values: list[int]) -> str:
    if not values:
        return "exact: no gates, nothing to choose"
    counts = " x ".join(f"{count:,}" for count in values)
    kinds = {1: "every threshold", 2: "every pair of thresholds"}
    return f"exact: {kinds.get(len(values), 'every combination of thresholds')} ({counts})"


def _without_unused(thresholds: Vector, answers: ExitAnswers) -> Vector:
    """Set +inf where no image exits: this is explicit, and holds on other images too."""
    counts = answers.point(thresholds).exit_counts
    pairs = zip(thresholds, counts, strict=False)  # the last exit has no threshold
    return tuple(value if count else math.inf for value, count in pairs)


def _refusal(
    answers: ExitAnswers, constraints: Constraints, nearest: OperatingPoint, method: str
) -> str:
    return (
        f"no thresholds have {constraints.describe(answers)} on these {answers.images:,} images"
        f" ({method}); at the nearest, {list(nearest.thresholds)},"
        f" {' and '.join(constraints.missed(answers, nearest))}"
    )


class _Exhaustive:
    """Tries all combinations: the outer gates one by one, the last gate in one sweep."""

    def __init__(self, tally: Tally) -> None:
        """Try all combinations; `best` is the result."""
        self._ledger = tally
        self._scores = [scores[order] for scores, order in _scored(tally)]
        entries = tally.entries  # what changes if an image exits before the end
        self._changes = [
            entries[:, gate, order] - entries[:, -1, order]
            for gate, order in enumerate(tally.orders)
        ]
        none_leave = tally.answers.none_leave
        self.best = Found(tally.key(none_leave), none_leave)
        everybody = np.ones(tally.answers.images, np.bool_)
        if none_leave:
            self._visit((), everybody, entries[:, -1].sum(axis=1))

    def _visit(self, chosen: Vector, is_here: NDArray[np.bool_], base: Totals) -> None:
        """Try all thresholds of the gate after the chosen ones, and of the gates after it.

        Args:
            chosen: the thresholds of the gates before.
            is_here: (N,) whether an image has not exited at those.
            base: (R,) totals if all images that are here run to the end.
        """
        gate = len(chosen)
        order = self._ledger.orders[gate]
        places = np.flatnonzero(is_here[order])
        scores, changes = self._scores[gate][places], self._changes[gate][:, places]
        if gate == self._ledger.answers.gates - 1:
            cut = best_cut(self._ledger, base, scores, changes)
            self.best = better(self.best, Found(cut.key, (*chosen, cut.threshold)))
            return
        totals = base[:, None] + np.cumsum(changes, axis=1)
        is_here, start = is_here.copy(), 0
        self._visit((*chosen, math.inf), is_here, base)
        for end in cut_ends(scores)[1:].tolist():
            is_here[order[places[start:end]]] = False
            start = end
            self._visit((*chosen, float(scores[end - 1])), is_here, totals[:, end - 1])
