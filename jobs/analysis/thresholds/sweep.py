"""Tries all values of one threshold at once: sorts the scores, adds up what each image changes."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from jobs.analysis.thresholds.exit_answers import ExitAnswers, Vector
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


class Moves(NamedTuple):
    """How images exit earlier as one threshold for all gates falls, highest score first.

    Attributes:
        scores: (M,) at which an image moves; the first score above all earlier ones of its image.
        rows: (M,) numbers of the images.
        from_exits, to_exits: (M,) numbers of the exits.
    """

    scores: NDArray[np.float32]
    rows: NDArray[np.intp]
    from_exits: NDArray[np.intp]
    to_exits: NDArray[np.intp]


def shared_moves(answers: ExitAnswers) -> Moves:
    """Return the moves of all images, as storage/queries/thresholds/frontier.sql has them."""
    reached = np.fmax.accumulate(answers.gate_scores, axis=0)  # it exits if this is high enough
    leaves_at = np.full(answers.images, answers.gates)
    none = np.empty(0, np.intp)
    parts = [Moves(np.empty(0, np.float32), none, none, none)]
    for gate in reversed(range(answers.gates)):
        is_here = ~np.isnan(reached[gate])
        if gate:  # otherwise it exits at an earlier gate at the same threshold
            is_here &= ~(reached[gate] <= reached[gate - 1])
        rows = np.flatnonzero(is_here)
        to_exits = np.full(len(rows), gate)
        parts.append(Moves(reached[gate, rows], rows, leaves_at[rows], to_exits))
        leaves_at[rows] = gate
    joined: list[NDArray[Any]] = [np.concatenate(columns) for columns in zip(*parts, strict=True)]
    order = by_score(joined[0])
    return Moves(*(column[order] for column in joined))


class SharedSweep:
    """All values of one threshold that all gates share; sorted once, for any constraints."""

    def __init__(self, tally: Tally) -> None:
        """Sort by the score at which each image exits earlier than at any higher threshold."""
        entries = tally.entries
        moves = shared_moves(tally.answers)
        self._scores = moves.scores
        self._changes = (
            entries[:, moves.to_exits, moves.rows] - entries[:, moves.from_exits, moves.rows]
        )

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
