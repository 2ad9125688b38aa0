"""Finds steps in a series: the best-fitting levels, with a penalty for each change of level.

An L1-Potts fit: it minimises the sum of distances from each level's median, plus a penalty per
step. Exact, by dynamic programming over all pieces. Medians, because one bad night is not a step.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

SHORTEST = 3
"""Minimum nights of a level: fewer are an outlier."""

PENALTY = 8.0
"""Per step, in standard deviations of one night. A step of 3 of these is found after some 4 nights;
in 30 nights of one level with an autocorrelation of 0.5, one is found in 1 of 100 series."""

_MEDIAN_OF_NORMAL = 0.6745  # median distance of a standard normal variable from 0

Series = NDArray[np.float64]


class Level(NamedTuple):
    """A piece of a series between two steps: the indices [start, stop), and its median."""

    start: int
    stop: int
    value: float


def levels(series: Series, penalty: float = PENALTY) -> list[Level]:
    """Split a series where its level changed.

    Args:
        series: (N,) in order of time, finite.
        penalty: per step, in standard deviations.

    Returns: at least one level, together the whole series; none for an empty series.
    """
    count = len(series)
    if not count:
        return []
    cost, medians = _pieces(series)
    price = penalty * scatter(series)
    best = np.full(count + 1, np.inf)
    best[0] = -price
    start_of = np.zeros(count + 1, dtype=np.int64)
    for stop in range(1, count + 1):
        totals = best[:stop] + cost[:stop, stop] + price
        start_of[stop] = int(np.argmin(totals))
        best[stop] = totals[start_of[stop]]
    found = []
    stop = count
    while stop:
        start = int(start_of[stop])
        found.append(Level(start, stop, float(medians[start, stop])))
        stop = start
    return found[::-1]


def scatter(series: Series) -> float:
    """Estimate the standard deviation of one night from differences of neighbours.

    Steps hardly affect it. Neighbours are assumed to have an autocorrelation of one half, so that
    they differ by one standard deviation.
    """
    if len(series) <= 1:  # no neighbours
        return 0.0
    return float(np.median(np.abs(np.diff(series)))) / _MEDIAN_OF_NORMAL


def _pieces(series: Series) -> tuple[Series, Series]:
    """Return each piece's sum of distances from its median, and its median.

    Both are (N + 1, N + 1), indexed by the piece [start, stop).
    """
    count = len(series)
    cost = np.full((count + 1, count + 1), np.inf)
    medians = np.full((count + 1, count + 1), np.nan)
    for length in range(min(SHORTEST, count), count + 1):
        windows = np.lib.stride_tricks.sliding_window_view(series, length)
        ordered, half = np.sort(windows, axis=1), length // 2
        starts = np.arange(count - length + 1)
        upper, lower = ordered[:, length - half :], ordered[:, :half]
        cost[starts, starts + length] = upper.sum(axis=1) - lower.sum(axis=1)
        medians[starts, starts + length] = (ordered[:, half] + ordered[:, (length - 1) // 2]) / 2
    return cost, medians
