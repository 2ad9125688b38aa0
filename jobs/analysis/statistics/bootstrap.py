"""Intervals by bootstrap over rounds, then over what was timed in each round drawn.

Few rounds look more alike than rounds are: of three, resamples alone would hold the truth in 73 %
of all cases instead of 95 %. So what drawing rounds adds is stretched, as Student's t is wider than
the normal distribution. Images that alone vary then get an interval somewhat wider than need be.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from jobs.analysis.statistics.student_t import quantile

RESAMPLES = 500
_INTERVAL = (2.5, 97.5)  # percent

Numbers = NDArray[np.float64]


class IntervalEstimate(NamedTuple):
    """A value and its 95 % interval."""

    value: float
    low: float
    high: float


def estimates(
    figures: Callable[[Numbers], Numbers], sizes: Sequence[int]
) -> list[IntervalEstimate]:
    """Estimate each of some figures, with its interval.

    Args:
        figures: gives them, where sample i of all rounds in a row counts counts[i] times.
        sizes: how many samples each round has; at least one round, none of them empty.
    """
    values = figures(np.ones(sum(sizes)))
    further = stretch(len(sizes)) - 1
    drawn = [
        figures(counts) + further * (figures(whole_rounds) - values)
        for whole_rounds, counts in _resamples(sizes)
    ]
    low, high = np.percentile(drawn, _INTERVAL, axis=0)
    return [IntervalEstimate(*map(float, each)) for each in zip(values, low, high, strict=True)]


def estimate_mean(rounds: Sequence[tuple[Numbers, Numbers]]) -> IntervalEstimate:
    """The mean over all images of all rounds.

    What was timed at once is drawn at once: images of one batch share its time, and say no more
    of the mean than one image.

    Args:
        rounds: of each, what the images of a batch took together, and how many they were.
    """
    totals, images = (np.concatenate(parts) for parts in zip(*rounds, strict=True))
    sizes = [len(batches) for batches, _ in rounds]
    (mean,) = estimates(lambda counts: np.array([counts @ totals / (counts @ images)]), sizes)
    return mean


def stretch(rounds: int) -> float:
    """By how much resamples of as many rounds vary too little; 1 for one round.

    sqrt(n / (n - 1)), since they vary around their own mean, times how much wider Student's t with
    n - 1 degrees of freedom is than the normal distribution. Of two rounds both ends of the
    interval are resamples of one round twice, as far out as none of more rounds: there it is
    Student's t itself.
    """
    if rounds == 1:
        return 1.0
    freedom = rounds - 1
    student = quantile(1 - _INTERVAL[1] / 100, freedom)
    if freedom == 1:
        return student
    return math.sqrt(rounds / freedom) * student / NormalDist().inv_cdf(_INTERVAL[1] / 100)


def _resamples(sizes: Sequence[int]) -> Iterator[tuple[Numbers, Numbers]]:
    """How often each sample counts, resample by resample: by its round alone, and drawn itself."""
    generator = np.random.default_rng(0)
    rounds = len(sizes)
    for _ in range(RESAMPLES):
        times = np.bincount(generator.integers(rounds, size=rounds), minlength=rounds)
        # Drawn and counted: six times as fast as a multinomial of as many samples.
        drawn = [
            np.bincount(generator.integers(n, size=n * count), minlength=n)
            for n, count in zip(sizes, times, strict=True)
        ]
        yield np.repeat(times, sizes).astype(np.float64), np.concatenate(drawn).astype(np.float64)
