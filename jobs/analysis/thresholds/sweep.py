"""Tries all values of one threshold at once: sorts the scores, adds up what each image changes."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from jobs.analysis.thresholds.exit_answers import Vector
from jobs.analysis.thresholds.tally import Key, Tally, Totals, by_score


class Cut(NamedTuple):
    """The best value of one threshold, and how good it is."""

    key: Key
    threshold: float


def cut_gate(tally: Tally, thresholds: Vector, gate: int) -> Cut:
    """Return the best threshold of one gate, of its distinct scores and +inf, the others fixed."""
    answers = tally.answers
    limits = np.array(thresholds, np.float32)
    limits[gate] = math.inf
    elsewhere = answers.exits_of(limits.tolist())
    images = np.arange(answers.images)
    base = tally.entries[:, elsewhere, images].sum(axis=1)
    order = tally.orders[gate]
    order = order[elsewhere[order] > gate]  # images that reach this gate
    changes = tally.entries[:, gate, order] - tally.entries[:, elsewhere[order], order]
    return best_cut(tally, base, answers.gate_scores[gate, order], changes)


class SharedSweep:
    """All values of one threshold that all gates share; sorted once, for any constraints."""

    def __init__(self, tally: Tally) -> None:
        """Sort by the score at which each image exits earlier than at any higher threshold."""
        answers, entries = tally.answers, tally.entries
        reached = np.fmax.accumulate(answers.gate_scores, axis=0)  # it exits if this is high enough
        leaves_at = np.full(answers.images, answers.gates)
        scores, changes = [np.empty(0, np.float32)], [entries[:, 0, :0]]
        for gate in reversed(range(answers.gates)):
            is_here = ~np.isnan(reached[gate])
            if gate:  # otherwise it exits at an earlier gate at the same threshold
                is_here &= ~(reached[gate] <= reached[gate - 1])
            rows = np.flatnonzero(is_here)
            scores.append(reached[gate, rows])
            changes.append(entries[:, gate, rows] - entries[:, leaves_at[rows], rows])
            leaves_at[rows] = gate
        values = np.concatenate(scores)
        order = by_score(values)
        self._scores = values[order]
        self._changes = np.concatenate(changes, axis=1)[:, order]

    def cut(self, tally: Tally) -> Cut:
        """Return the best of all distinct scores and +inf, by what this tally seeks."""
        base = tally.entries[:, -1].sum(axis=1)
        return best_cut(tally, base, self._scores, self._changes)


def best_cut(tally: Tally, base: Totals, scores: NDArray[np.float32], changes: Totals) -> Cut:
    """Return the best of +inf and all cuts between unequal scores.

    Args:
        tally: what is sought.
        base: (R,) totals if no image exits here.
        scores: (M,) highest first.
        changes: (R, M) of the totals as each of these images exits.
    """
    totals = np.empty((len(base), len(scores) + 1), np.int64)
    totals[:, 0] = base
    np.cumsum(changes, axis=1, out=totals[:, 1:])
    totals[:, 1:] += base[:, None]
    ends = cut_ends(scores)
    column, key = tally.best(totals if len(ends) > len(scores) else totals[:, ends])
    return Cut(key, float(scores[ends[column] - 1]) if column else math.inf)


def cut_ends(scores: NDArray[np.float32]) -> NDArray[np.intp]:
    """Return the possible numbers of exiting images, from 0 on: equal scores exit together."""
    edges = np.concatenate([[True], scores[1:] != scores[:-1], [True]])
    return np.flatnonzero(edges[: len(scores) + 1])
