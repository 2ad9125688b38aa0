"""Bootstrap intervals: resample rounds, then the samples of each drawn round.

A few rounds look more alike than they are: with three, plain resampling would contain the true
value in 73 % of cases instead of 95 %. So the spread added by drawing rounds is stretched, as
Student's t is wider than the normal distribution. If only images vary, the interval is then
somewhat wider than necessary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from jobs.statistics.student_t import quantile

RESAMPLES = 500
_INTERVAL = (2.5, 97.5)  # percent

Numbers = NDArray[np.float64]


class IntervalEstimate(NamedTuple):
    """A value and its 95 % interval."""

    value: float
    low: float
    high: float

    def of_time(self) -> IntervalEstimate:
        """Return it without negative values: stretched for few rounds, it may reach below 0."""
        return self._replace(low=max(self.low, 0.0))


def estimates(
    figures: Callable[[Numbers], Numbers], sizes: Sequence[int]
) -> list[IntervalEstimate]:
    """Estimate each figure, with its interval.

    Args:
        figures: computes the figures from counts: sample i of the concatenated rounds counts
            counts[i] times.
        sizes: number of samples of each round; at least one round, none of them empty.
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
    """Estimate the mean over all images of all rounds.

    Images timed together are drawn together: images of one batch share its time, and tell no more
    about the mean than one image.

    Args:
        rounds: for each round, the total time and the number of images of each batch.
    """
    totals, images = (np.concatenate(parts) for parts in zip(*rounds, strict=True))
    sizes = [len(batches) for batches, _ in rounds]
    (mean,) = estimates(lambda counts: np.array([counts @ totals / (counts @ images)]), sizes)
    return mean.of_time()


def stretch(rounds: int) -> float:
    """Return the factor by which resamples of this many rounds vary too little; 1 for one round.

    sqrt(n / (n - 1)), since they vary around their own mean, times how much wider Student's t with
    n - 1 degrees of freedom is than the normal distribution. With two rounds, both ends of the
    interval are resamples that drew one round twice, which lie further out than those of more
    rounds: there the factor is Student's t itself.
    """
    if rounds == 1:
        return 1.0
    freedom = rounds - 1
    student = quantile(1 - _INTERVAL[1] / 100, freedom)
    if freedom == 1:
        return student
    return math.sqrt(rounds / freedom) * student / NormalDist().inv_cdf(_INTERVAL[1] / 100)


def _resamples(sizes: Sequence[int]) -> Iterator[tuple[Numbers, Numbers]]:
    """Yield the counts of each sample per resample: with only rounds drawn, then samples too."""
    generator = np.random.default_rng(0)
    rounds = len(sizes)
    for _ in range(RESAMPLES):
        times = np.bincount(generator.integers(rounds, size=rounds), minlength=rounds)
        # Drawing and counting is six times as fast as a multinomial of as many samples.
        drawn = [
            np.bincount(generator.integers(n, size=n * count), minlength=n)
            for n, count in zip(sizes, times, strict=True)
        ]
        yield np.repeat(times, sizes).astype(np.float64), np.concatenate(drawn).astype(np.float64)
