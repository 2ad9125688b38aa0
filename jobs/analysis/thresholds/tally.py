"""What images add to accuracy and costs at each exit, and which totals the constraints allow."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from jobs.analysis.thresholds.constraints import COST_TOLERANCE, Constraints
from jobs.analysis.thresholds.exit_answers import ExitAnswers, Vector

Totals = NDArray[np.int64]
Key = tuple[float, int, int]
"""Smaller is better: how far the constraints are missed, what is sought, then the tie-breaker."""

COST_BITS = 36
"""A cost is held in 2 ** -36 of the greatest; exact for blocks, and 67 million images still fit."""

_UNLIMITED = np.iinfo(np.int64).max


@dataclass(frozen=True, eq=False)
class Tally:
    """What each image adds to each total at each exit, and the limits on the totals.

    Integers throughout: floats added in another order would make equal costs unequal.

    Attributes:
        answers: the pass whose thresholds are sought.
        entries: (R, E, N) int64: row 0 correct predictions, row 1 the cost, then other limited
            costs.
        required_correct: the minimum total of row 0.
        limits: (R - 1,) the maximum totals of the others.
        seeks_least_cost: whether the lowest cost is sought; otherwise the highest accuracy.
        orders: for each gate the images with a score, highest first.
    """

    answers: ExitAnswers
    entries: Totals
    required_correct: int
    limits: Totals
    seeks_least_cost: bool
    orders: tuple[NDArray[np.intp], ...]

    @classmethod
    def of(cls, answers: ExitAnswers, constraints: Constraints) -> Tally:
        """Build the tally of a pass and its constraints."""
        images, limits = answers.images, constraints.all_cost_limits(answers)
        others = limits if constraints.max_cost is None else limits[1:]
        rows = [(answers.costs, constraints.max_cost)]
        rows += [(np.array(it.costs, np.float64), it.limit) for it in others]
        entries = np.empty((1 + len(rows), len(answers.exit_blocks), images), np.int64)
        entries[0] = answers.is_correct
        highest = np.full(len(rows), _UNLIMITED)
        for row, (costs, limit) in enumerate(rows):
            quantum = math.ldexp(1.0, math.frexp(costs.max())[1] - COST_BITS)
            entries[row + 1] = np.rint(costs / quantum).astype(np.int64)[:, None]
            if limit is not None:
                total = (limit + COST_TOLERANCE * abs(limit)) * images / quantum
                highest[row] = math.floor(min(total, 2.0**62))
        return cls(
            answers,
            entries,
            constraints.required_correct(answers),
            highest,
            constraints.limits_accuracy,
            tuple(by_score(scores) for scores in answers.gate_scores),
        )

    def within(self, cost: int) -> Tally:
        """Return a tally that seeks the highest accuracy within a total cost."""
        limits = np.full(len(self.limits), _UNLIMITED)
        limits[0] = cost
        return replace(self, required_correct=0, limits=limits, seeks_least_cost=False)

    def scaled(self, factor: float) -> Tally:
        """Return a tally that allows `factor` times the distance from full depth."""
        full = self.entries[:, -1].sum(axis=1)
        allowed = factor * (int(full[0]) - self.required_correct)
        limits = [
            limit if limit == _UNLIMITED else int(total - (total - limit) / factor)
            for total, limit in zip(full[1:].tolist(), self.limits.tolist(), strict=True)
        ]
        required = int(full[0]) - round(allowed) if self.seeks_least_cost else 0
        return replace(self, required_correct=required, limits=np.array(limits, np.int64))

    def totals(self, thresholds: Vector) -> Totals:
        """Return the (R,) totals at some thresholds."""
        images = np.arange(self.answers.images)
        totals: Totals = self.entries[:, self.answers.exits_of(thresholds), images].sum(axis=1)
        return totals

    def key(self, thresholds: Vector) -> Key:
        """Return how good some thresholds are."""
        return self.best(self.totals(thresholds)[:, None])[1]

    def best(self, totals: Totals) -> tuple[int, Key]:
        """Return the best column of (R, M) totals, the first of equal ones, and its key."""
        is_met = totals[0] >= self.required_correct
        for total, limit in zip(totals[1:], self.limits, strict=True):
            if limit != _UNLIMITED:
                is_met &= total <= limit
        columns = np.flatnonzero(is_met)
        shortfall = 0.0
        if not columns.size:
            shortfalls = self._shortfalls(totals)
            shortfall = float(shortfalls.min())
            columns = np.flatnonzero(shortfalls == shortfall)
        rows = (totals[1], -totals[0]) if self.seeks_least_cost else (-totals[0], totals[1])
        for row in rows:
            values = row[columns]
            columns = columns[values == values.min()]
        column = int(columns[0])
        return column, (shortfall, int(rows[0][column]), int(rows[1][column]))

    def _shortfalls(self, totals: Totals) -> NDArray[np.float64]:
        """Return how far each column misses: shares of the images, and of the limits on cost."""
        missing: NDArray[np.float64]
        missing = np.maximum(self.required_correct - totals[0], 0) / self.answers.images
        for total, limit in zip(totals[1:], self.limits, strict=True):
            if limit != _UNLIMITED:
                missing = missing + np.maximum(total - limit, 0) / max(abs(int(limit)), 1)
        return missing


def by_score(scores: NDArray[np.float32]) -> NDArray[np.intp]:
    """Return the numbers of the images with a score, highest first."""
    order = np.argsort(-scores, kind="stable")  # NaN comes last
    return order[: len(order) - int(np.isnan(scores).sum())]
