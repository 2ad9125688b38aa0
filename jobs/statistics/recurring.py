"""Levels that a machine returns to: if slow nights pass, a slow night is compared with these.

A machine may have several speed states, and some machines have a bad night now and then. Such slow
nights come and go without any change of the code. A regression comes and stays: it is one change of
level. So a window of nights is tested for two things.

*Does it fall into groups of equal speed?* The sorted nights are cut into at most MOST_LEVELS
groups, in every possible way. The best cut has the neighbouring groups furthest apart, in standard
deviations within groups (after the D of Ashman, Bird and Zepf 1994, "Detecting bimodality in
astronomical datasets"). The groups are levels if D is larger than autocorrelated nights of one
level give.

*Does a slower level pass?* A level is in use once the machine has entered it from a faster one and
has returned: A, B, A. After a step, A, B, it has not returned, and there is one level at a time.

A stay with a night that was reported as a regression does not count: a regression that was fixed
is not a level of the machine.

A stay on a slower level that is much longer than the stays before it counts as a step: then that
level is not in use. The length of stays is assumed to be geometric, with a rate estimated from the
stays that ended. The test is predictive, so that one short stay does not prove that all are short.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Series = NDArray[np.float64]
Places = NDArray[np.int64]

MOST_LEVELS = 3

APART = 4.5
"""The minimum D of levels. Of series of one level with an autocorrelation of one half, 1 in 200 has
a greater D in 30 nights, and 1 in 10 in 10 nights."""

RARE = 0.002
"""How often per night a stay may be mistaken for a step although nothing has changed."""

_SMALLEST = 1e-18  # a smaller sum of squares means that nights are equal


class Recurring(NamedTuple):
    """The levels of a window of nights.

    Attributes:
        means: (K,) logarithms, fastest first.
        of_night: (N,) the index of each night's level.
        slowest: the index of the slowest level in use; 0 if only the fastest is.
    """

    means: Series
    of_night: Places
    slowest: int

    @property
    def changes(self) -> int:
        """The number of nights on another level than the night before."""
        return int(np.count_nonzero(np.diff(self.of_night)))

    def nearest(self, values: Series) -> Series:
        """Return the mean of the level nearest to each of other nights, (M,)."""
        distances: Series = np.abs(values[:, None] - self.means)
        nearest: Series = self.means[distances.argmin(axis=1)]
        return nearest


def recurring(series: Series, is_told: NDArray[np.bool_] | None = None) -> Recurring | None:
    """Find the levels that a machine returns to.

    Args:
        series: (N,) logarithms in the order of the nights, before the night that is judged.
        is_told: (N,) which of them were reported as regressions; None: none.

    Returns: None if there is one level at a time.
    """
    if len(series) <= MOST_LEVELS:
        return None
    cuts = [_furthest(series, count) for count in range(2, MOST_LEVELS + 1)]
    apart, means, of_night = max(cuts, key=lambda cut: cut[0])
    if apart <= APART:
        return None
    told = np.zeros(len(series), dtype=bool) if is_told is None else is_told
    passing = [level for level in range(1, len(means)) if _stays(of_night >= level, told)]
    if not passing:
        return None
    usual = [level for level in passing if not _is_too_long(of_night >= level, told)]
    return Recurring(means, of_night, max(usual, default=0))


def _furthest(series: Series, count: int) -> tuple[float, Series, Places]:
    """Cut into the groups that are furthest apart: D, their means, the group of each night."""
    nights = len(series)
    order = np.argsort(series, kind="stable")
    ordered = series[order] - series.mean()
    sums, squares = (np.concatenate([[0.0], np.cumsum(each)]) for each in (ordered, ordered**2))
    bounds = _cuts(nights, count)
    sizes = np.diff(bounds, axis=1)
    means = np.diff(sums[bounds], axis=1) / sizes
    within = np.diff(squares[bounds], axis=1).sum(axis=1) - (sizes * means**2).sum(axis=1)
    deviations = np.sqrt(np.maximum(within, _SMALLEST) / (nights - count))
    apart = np.diff(means, axis=1).min(axis=1) / deviations
    best = int(apart.argmax())
    of_night = np.empty(nights, dtype=np.int64)
    of_night[order] = np.repeat(np.arange(count), sizes[best])
    return float(apart[best]), means[best] + series.mean(), of_night


@lru_cache
def _cuts(nights: int, count: int) -> Places:
    """Return the group bounds of every way to cut this many sorted nights, (C, count + 1)."""
    inner = np.array(list(combinations(range(1, nights), count - 1)), dtype=np.int64)
    ends = np.zeros((len(inner), 1), dtype=np.int64)
    return np.hstack([ends, inner, ends + nights])


def _stays(is_slow: NDArray[np.bool_], is_told: NDArray[np.bool_]) -> list[int]:
    """Return the nights of each ended stay: faster nights before and after, no regression in it."""
    edges = np.flatnonzero(np.diff(is_slow))
    if is_slow[0]:  # its start is unknown
        edges = edges[1:]
    return [
        int(stop - start)
        for start, stop in zip(edges[::2], edges[1::2], strict=False)
        if not is_told[start + 1 : stop + 1].any()
    ]


def _is_too_long(is_slow: NDArray[np.bool_], is_told: NDArray[np.bool_]) -> bool:
    """Whether the current stay, including tonight, is longer than the ended ones predict.

    The rate at which stays begin, times the predictive probability that one lasts so long: from
    `times` stays of `nights` nights in total, including a prior of one stay of one night.
    """
    present = int(np.argmin(is_slow[::-1])) + 1
    stays = _stays(is_slow, is_told)
    times, nights = len(stays) + 1, sum(stays) + 1
    chance = (nights / (nights + present - 1)) ** times
    return bool(times / len(is_slow) * chance < RARE)
