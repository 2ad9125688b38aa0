"""The difference of two accuracies on the same images: McNemar's table, test and interval."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from jobs.statistics.bootstrap import IntervalEstimate

_Z = 1.959963984540054  # of the normal distribution at 97.5 %
_HALVINGS = 60  # of [-1, 1]: finer than a double resolves

Flags = NDArray[np.bool_]


class AnswerChanges(NamedTuple):
    """Number of images whose prediction changed between right and wrong, first to second.

    Attributes:
        images: number of images that both predicted.
        lost: right in the first, wrong in the second.
        won: wrong in the first, right in the second.
    """

    images: int
    lost: int
    won: int

    @classmethod
    def between(cls, first: Flags, second: Flags) -> AnswerChanges:
        """Count the changes.

        Args:
            first: (N,) whether the prediction of each image is correct.
            second: (N,) the same images in the same order.
        """
        lost = np.count_nonzero(first & ~second)
        won = np.count_nonzero(~first & second)
        return cls(len(first), int(lost), int(won))

    @property
    def points(self) -> float:
        """The change of accuracy, in percentage points."""
        return 100 * (self.won - self.lost) / self.images


class AnswerTable(NamedTuple):
    """McNemar's table: the number of images by whether each of two predictions is right.

    Attributes:
        both_right: right in both.
        lost: right in the first, wrong in the second.
        won: wrong in the first, right in the second.
        both_wrong: wrong in both, with the same prediction or another.
    """

    both_right: int
    lost: int
    won: int
    both_wrong: int

    @classmethod
    def between(cls, first: Flags, second: Flags) -> AnswerTable:
        """Count the images; arguments as for `AnswerChanges.between`."""
        changes = AnswerChanges.between(first, second)
        both_right = int(np.count_nonzero(first & second))
        both_wrong = changes.images - both_right - changes.lost - changes.won
        return cls(both_right, changes.lost, changes.won, both_wrong)

    @property
    def changes(self) -> AnswerChanges:
        """What the test and the interval are computed from."""
        return AnswerChanges(sum(self), self.lost, self.won)


def p_value(changes: AnswerChanges) -> float:
    """Return the two-sided p-value of McNemar's exact test: are lost and won equally likely?

    Twice the binomial tail at one half, at most 1. Computed in integers.
    """
    flips = changes.won + changes.lost
    fewer = min(changes.won, changes.lost)
    ways, tail = 1, 1
    for number in range(1, fewer + 1):
        ways = ways * (flips - number + 1) // number
        tail += ways
    # Python divides integers of any length and rounds once.
    return min(1.0, 2 * tail / (1 << flips))


def interval(changes: AnswerChanges) -> IntervalEstimate:
    """Return the difference in percentage points with its 95 % interval, by Tango's score test.

    The interval is valid even if few images changed, or none, where a standard error would be 0.
    It is about the population of such images; on these images the difference is exact. (Tango 1998,
    Statistics in Medicine 17, 891-908.)
    """
    value = (changes.won - changes.lost) / changes.images
    low = _crossing(changes, -1.0, value, _Z)
    high = _crossing(changes, value, 1.0, -_Z)
    return IntervalEstimate(100 * value, 100 * low, 100 * high)


def _crossing(changes: AnswerChanges, low: float, high: float, wanted: float) -> float:
    """Find the assumed difference whose score is `wanted`; the score falls as it rises."""
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if _score(changes, middle) > wanted:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _score(changes: AnswerChanges, difference: float) -> float:
    """Return by how many standard errors the observed difference exceeds an assumed one.

    The error is computed under the assumed difference, with the most likely share of lost images,
    the root of a quadratic equation.
    """
    images, lost, won = changes
    square = 2 * images
    linear = -won - lost + (2 * images - won + lost) * difference
    constant = -lost * difference * (1 - difference)
    root = math.sqrt(max(linear**2 - 4 * square * constant, 0.0))
    share = (root - linear) / (2 * square)
    variance = images * (2 * share + difference * (1 - difference))
    distance = won - lost - images * difference
    if variance <= 0:
        return math.copysign(math.inf, distance) if distance else 0.0
    return distance / math.sqrt(variance)
