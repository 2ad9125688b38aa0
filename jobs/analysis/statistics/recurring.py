"""Levels that a machine returns to: a slow night is compared with these where slow nights pass.

A machine may have several speed states, and some machines have a bad night now and then. Such slow
nights come and go without any change of the code. A regression comes and stays: it is one change of
level. So two things are asked of a window of nights.

*Does it fall into groups of equal speed?* The sorted nights are cut into at most MOST_LEVELS
groups, in every way, and the cut counts whose neighbouring groups are furthest apart in standard
deviations within groups (after the D of Ashman, Bird and Zepf 1994, "Detecting bimodality in
astronomical datasets"). They are levels where D is more than one level of autocorrelated nights
gives.

*Does a slower level pass?* A level is in use once the machine has come to it from a faster one and
has gone back: A, B, A. After a step, A, B, it has not gone back, and there is one level at a time.

A stay with a night that was told as a regression is none: what was mended is no level of the
machine.

A stay on a slower level that is much longer than the stays before it is a step again: then that
level is not in use. The length of stays is taken to be geometric, with a rate that is known from
the stays that ended. Predictive, so that one short stay does not prove that all are short.
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
"""The D of levels, at least. Of series of one level, autocorrelated by one half, 1 of 200 has a
greater one in 30 nights, and 1 of 10 in 10 nights."""

RARE = 0.002
"""How often a night a stay may be taken for a step while nothing has changed."""

_SMALLEST = 1e-18  # of a sum of squares: below it nights are equal


class Recurring(NamedTuple):
    """The levels of a window of nights.

    Attributes:
        means: (K,) logarithms, fastest first.
        of_night: (N,) on which level each night was.
        slowest: the place of the slowest level in use; 0 where none but the fastest is.
    """

    means: Series
    of_night: Places
    slowest: int

    @property
    def changes(self) -> int:
        """How often a night was on another level than the one before it."""
        return int(np.count_nonzero(np.diff(self.of_night)))

    def nearest(self, values: Series) -> Series:
        """(M,) the level that each of other nights was on, as its mean."""
        distances: Series = np.abs(values[:, None] - self.means)
        nearest: Series = self.means[distances.argmin(axis=1)]
        return nearest


def recurring(series: Series, is_told: NDArray[np.bool_] | None = None) -> Recurring | None:
    """Find the levels that a machine comes back to.

    Args:
        series: (N,) logarithms in the order of the nights, before the night that is judged.
        is_told: (N,) which of them were told as regressions; None: none.

    Returns: None where there is one level at a time.
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
    """The cut into groups that are furthest apart: its D, their means, the group of each night."""
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
    """(C, count + 1) the bounds of the groups, for each way to cut so many sorted nights."""
    inner = np.array(list(combinations(range(1, nights), count - 1)), dtype=np.int64)
    ends = np.zeros((len(inner), 1), dtype=np.int64)
    return np.hstack([ends, inner, ends + nights])


def _stays(is_slow: NDArray[np.bool_], is_told: NDArray[np.bool_]) -> list[int]:
    """How many nights each stay took that has a faster night before and after it, and none told."""
    edges = np.flatnonzero(np.diff(is_slow))
    if is_slow[0]:  # since when is not known
        edges = edges[1:]
    return [
        int(stop - start)
        for start, stop in zip(edges[::2], edges[1::2], strict=False)
        if not is_told[start + 1 : stop + 1].any()
    ]


def _is_too_long(is_slow: NDArray[np.bool_], is_told: NDArray[np.bool_]) -> bool:
    """Whether the present stay, tonight included, is longer than the ended ones let expect.

    With `times` stays of together `nights` nights, one stay of one night supposed before any is
    seen: how often a stay begins, times the predictive chance that one takes so long.
    """
    present = int(np.argmin(is_slow[::-1])) + 1
    stays = _stays(is_slow, is_told)
    times, nights = len(stays) + 1, sum(stays) + 1
    chance = (nights / (nights + present - 1)) ** times
    return bool(times / len(is_slow) * chance < RARE)
