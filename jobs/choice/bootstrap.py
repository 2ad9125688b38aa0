"""Intervals by bootstrap over rounds, then over what was timed in each round drawn."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 500
_INTERVAL = (2.5, 97.5)  # percent

Numbers = NDArray[np.float64]


class Estimate(NamedTuple):
    """A value, and the interval in which 95 % of its resamples lie."""

    value: float
    low: float
    high: float


def estimates(
    figures: Callable[[Numbers], Numbers], sizes: Sequence[int], seed: int = 0
) -> list[Estimate]:
    """Estimate each of some figures, with its interval.

    Args:
        figures: gives them, where sample i of all rounds in a row counts counts[i] times.
        sizes: how many samples each round has; at least one round, none of them empty.
        seed: of the resamples.
    """
    drawn = np.stack([figures(counts) for counts in _resamples(sizes, seed)])
    low, high = np.percentile(drawn, _INTERVAL, axis=0)
    values = figures(np.ones(sum(sizes)))
    return [Estimate(*map(float, each)) for each in zip(values, low, high, strict=True)]


def mean_of(rounds: Sequence[tuple[Numbers, Numbers]], seed: int = 0) -> Estimate:
    """The mean over all images of all rounds.

    What was timed at once is drawn at once: images of one batch share its time, and say no more
    of the mean than one image.

    Args:
        rounds: of each, what the images of a batch took together, and how many they were.
        seed: of the resamples.
    """
    totals, images = (np.concatenate(parts) for parts in zip(*rounds, strict=True))
    sizes = [len(batches) for batches, _ in rounds]
    (mean,) = estimates(lambda counts: np.array([counts @ totals / (counts @ images)]), sizes, seed)
    return mean


def _resamples(sizes: Sequence[int], seed: int) -> Iterator[Numbers]:
    """How often each sample counts, resample by resample."""
    generator = np.random.default_rng(seed)
    rounds = len(sizes)
    for _ in range(RESAMPLES):
        times = np.bincount(generator.integers(rounds, size=rounds), minlength=rounds)
        # Drawn and counted: six times as fast as a multinomial of as many samples.
        drawn = [
            np.bincount(generator.integers(n, size=n * count), minlength=n)
            for n, count in zip(sizes, times, strict=True)
        ]
        yield np.concatenate(drawn).astype(np.float64)
