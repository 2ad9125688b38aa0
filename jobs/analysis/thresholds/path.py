"""Builds a path of threshold vectors on some images, from the safest to the most aggressive."""

from __future__ import annotations

import math

import numpy as np

from jobs.analysis.thresholds.constraints import Constraints
from jobs.analysis.thresholds.coordinate_descent import better, descend
from jobs.analysis.thresholds.exit_answers import ExitAnswers, Vector
from jobs.analysis.thresholds.sweep import SharedSweep
from jobs.analysis.thresholds.tally import Tally

STEPS = 128
"""Number of budgets, evenly from full-depth cost to the lowest; more would cost no confidence."""


def build_path(answers: ExitAnswers) -> tuple[Vector, ...]:
    """Return vectors of falling cost: no image exits early, the best per budget, all exit first.

    Each descends from the vector before it, or from the best shared threshold if that is better
    than the result, so that the path is quick to build and its neighbours are alike.
    """
    tally = Tally.of(answers, Constraints())
    shared_sweep = SharedSweep(tally)
    path = [answers.none_leave]
    cost = int(tally.totals(answers.none_leave)[1])
    least = int(tally.entries[1].min(axis=0).sum())
    for budget in np.linspace(cost, least, STEPS + 1)[1:].astype(np.int64).tolist():
        if cost <= budget:
            continue
        within = tally.within(budget)
        found = descend(within, path[-1])
        shared = shared_sweep.cut(within)
        if shared.key < found.key:
            found = better(found, descend(within, (shared.threshold,) * answers.gates))
        if found.key[0] == 0:
            path.append(found.thresholds)
            cost = int(tally.totals(found.thresholds)[1])
    everybody = (-math.inf,) * answers.gates
    return tuple(dict.fromkeys([*path, everybody]))
