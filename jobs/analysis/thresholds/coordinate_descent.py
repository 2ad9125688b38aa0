"""The heuristic for too many combinations: coordinate descent from several starts."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import cycle
from typing import NamedTuple

import numpy as np

from jobs.analysis.thresholds.exit_answers import Vector
from jobs.analysis.thresholds.sweep import SharedSweep, cut_gate
from jobs.analysis.thresholds.tally import Key, Tally

SCALINGS = (1.0, 0.5, 0.75, 1.5, 2.0)
"""Factors on what the constraints allow, for shared thresholds to start from; above 1 too much."""

PAIR_VALUES = 32
"""Number of quantiles of its scores that one gate moves to, while another is optimised exactly."""


class Found(NamedTuple):
    """Thresholds and how good they are; a smaller key is better."""

    key: Key
    thresholds: Vector


def better(first: Found, *others: Found) -> Found:
    """Return the best, the first of equal ones."""
    return min((first, *others), key=lambda found: found.key)


def describe_descent(gates: int) -> str:
    """Describe what `descend_from_all` does."""
    return (
        f"heuristic: coordinate descent from {1 + len(SCALINGS) + gates} starts, exact in each"
        f" coordinate; then pairs, one gate at {PAIR_VALUES} quantiles, the other exact"
    )


def descend_from_all(tally: Tally) -> Found:
    """Descend from all starts; improve the best result two coordinates at a time."""
    best = better(*(descend(tally, start) for start in _starts(tally)))
    while True:
        moved = _move_pair(tally, best)
        if moved.key >= best.key:
            return best
        best = descend(tally, moved.thresholds)


def descend(tally: Tally, start: Vector) -> Found:
    """Optimise one threshold after another, until none of them can be improved alone.

    From a start that misses the constraints, it first moves towards them.
    """
    best = Found(tally.key(start), start)
    in_vain = 0
    for gate in cycle(range(len(start))):
        moved = _cut(tally, best.thresholds, gate)
        in_vain = 0 if moved.key < best.key else in_vain + 1
        best = better(best, moved)
        if in_vain == len(start):
            break
    return best


def _starts(tally: Tally) -> Iterator[Vector]:
    """Yield the starts: no exits; the best shared thresholds at several limits; each gate alone."""
    answers = tally.answers
    yield answers.none_leave
    shared = SharedSweep(tally)
    for factor in SCALINGS:
        yield (shared.cut(tally.scaled(factor)).threshold,) * answers.gates
    for gate in range(answers.gates):
        yield _cut(tally, answers.none_leave, gate).thresholds


def _move_pair(tally: Tally, best: Found) -> Found:
    """Move one gate to each of several values, and another to its best value given that.

    If the limit is used up, no gate can let more images exit unless another lets fewer.
    """
    thresholds = best.thresholds
    for moved in range(len(thresholds)):
        scores = tally.answers.gate_scores[moved, tally.orders[moved]]
        picks = np.linspace(0, max(len(scores) - 1, 0), min(PAIR_VALUES, len(scores)))
        values = {*scores[picks.astype(int)].tolist(), math.inf}
        for value in sorted(values):
            changed = _with(thresholds, moved, value)
            others = (gate for gate in range(len(thresholds)) if gate != moved)
            best = better(best, *(_cut(tally, changed, gate) for gate in others))
    return best


def _cut(tally: Tally, thresholds: Vector, gate: int) -> Found:
    cut = cut_gate(tally, thresholds, gate)
    return Found(cut.key, _with(thresholds, gate, cut.threshold))


def _with(thresholds: Vector, gate: int, value: float) -> Vector:
    return (*thresholds[:gate], value, *thresholds[gate + 1 :])
