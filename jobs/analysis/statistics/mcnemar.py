"""The difference of two accuracies on the same images, where only images that changed count."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from jobs.analysis.statistics.bootstrap import IntervalEstimate

_Z = 1.959963984540054  # of the normal distribution at 97.5 %
_HALVINGS = 60  # of [-1, 1]: beyond what a double tells apart

Flags = NDArray[np.bool_]


class AnswerChanges(NamedTuple):
    """How the answers to as many images changed from the first to the second.

    Attributes:
        images: how many both answered.
        lost: right at first, wrong then.
        won: wrong at first, right then.
    """

    images: int
    lost: int
    won: int

    @classmethod
    def between(cls, first: Flags, second: Flags) -> AnswerChanges:
        """Count them.

        Args:
            first: (N,) whether each image was answered rightly.
            second: (N,) the same images in the same order.
        """
        lost = np.count_nonzero(first & ~second)
        won = np.count_nonzero(~first & second)
        return cls(len(first), int(lost), int(won))

    @property
    def points(self) -> float:
        """How many percent of the images more are right."""
        return 100 * (self.won - self.lost) / self.images


def p_value(changes: AnswerChanges) -> float:
    """McNemar's exact test, two-sided: could a fair coin have decided each image that changed?

    Twice the binomial tail at one half, at most 1. Computed in whole numbers.
    """
    flips = changes.won + changes.lost
    fewer = min(changes.won, changes.lost)
    ways, tail = 1, 1
    for number in range(1, fewer + 1):
        ways = ways * (flips - number + 1) // number
        tail += ways
    # Python divides whole numbers of any length and rounds once.
    return min(1.0, 2 * tail / (1 << flips))


def interval(changes: AnswerChanges) -> IntervalEstimate:
    """The difference in percentage points with its 95 % interval, by Tango's score test.

    It holds where few images changed, or none: there a standard error would be 0. Of the images
    that there could be, not of these: of these the difference is exact. (Tango 1998, Statistics in
    Medicine 17, 891-908.)
    """
    value = (changes.won - changes.lost) / changes.images
    low = _crossing(changes, -1.0, value, _Z)
    high = _crossing(changes, value, 1.0, -_Z)
    return IntervalEstimate(100 * value, 100 * low, 100 * high)


def _crossing(changes: AnswerChanges, low: float, high: float, wanted: float) -> float:
    """Where the score, which falls as the difference supposed rises, is what is wanted."""
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if _score(changes, middle) > wanted:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _score(changes: AnswerChanges, difference: float) -> float:
    """How many standard errors the difference found is above one supposed.

    The error is that under the supposed one: the share of lost images is then the likeliest one,
    the root of a square equation.
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
