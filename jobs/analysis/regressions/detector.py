"""Whether a night differs from the nights before it: levels, scatter, autocorrelation, control.

A night's mean is known within a night far better than nights agree with each other. So what counts
is how nights scattered, and that a night resembles the one before it: what is judged is by how
much a night differs from what the nights before it let expect. These have one level at a time, with
steps between (`steps`), or several that the machine comes back to (`recurring`). With several, the
nights before are moved to the slowest level in use, and a night is held against that one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from jobs.analysis.statistics.change_points import levels
from jobs.analysis.statistics.recurring import Recurring, recurring
from jobs.analysis.statistics.student_t import quantile, upper_tail

TONIGHT_SHARE = 0.2
"""Of the false alarms that are allowed, those of tonight alone; the rest are of two nights
together, which tell a step of either night better than one does."""

_PRIOR_CORRELATION, _PRIOR_NIGHTS = 0.5, 10
"""What the autocorrelation is before it was seen, and as many nights that has the weight of: 30
nights tell it within 0.2 only, and too low."""

_HIGHEST_CORRELATION = 0.9
_OUTLIER = 5.0  # times the median distance: 3.4 deviations of a normal distribution
_LEAST_PAST = 3  # nights, for the last of them to be held against those before it
_SMALLEST = 1e-9  # of a scatter: below it numbers are equal

RECENT = 7
"""Nights that are held against the pinned baseline together, and nights of the baseline."""

Series = NDArray[np.float64]


class LevelDifference(NamedTuple):
    """By how much the logarithm of a value is other than expected, with its 95 % interval.

    `slower` and `faster` are the chances that a night without any change looks as much so.
    """

    expected: float
    effect: float
    low: float
    high: float
    slower: float
    faster: float


@dataclass(frozen=True)
class Reference:
    """What the nights before a night say of it.

    Attributes:
        past: (N,) logarithms, oldest first, with what the control did divided out; where the
            machine comes back to several levels, each night moved to the slowest in use.
        level: mean of the nights since the last step; of the slowest level in use.
        nights: how many these are.
        correlation: of a night with the one before it.
        scatter: standard deviation of what a night adds to what the one before it let expect.
        freedom: degrees of freedom that the scatter is known with.
        share: the power of the control's ratio that is divided out, 0 to 1.
        control_level: mean logarithm of the control.
        recurring: the levels that the machine comes back to; None: there is one at a time.
    """

    past: Series
    level: float
    nights: int
    correlation: float
    scatter: float
    freedom: int
    share: float
    control_level: float
    recurring: Recurring | None = None

    @classmethod
    def of(
        cls,
        past: Series,
        control: Series | None = None,
        older: int = 0,
        is_told: NDArray[np.bool_] | None = None,
    ) -> Reference:
        """Learn from earlier nights.

        Args:
            past: (N,) logarithms of a cell, oldest first, finite; at least 5.
            control: (N,) those of the control model in the same nights; None: there is none.
            older: how many of them tell only of levels that the machine comes back to.
            is_told: (N,) which nights were told as regressions; None: none.
        """
        share, control_level = 0.0, 0.0
        if control is not None:
            control_level = float(control[older:].mean())
            share = _share(past[older:], control[older:])
            past = past - share * (control - control_level)
        several = recurring(past, is_told)
        if several:
            count, level = len(several.means), float(several.means[several.slowest])
            nights = int((several.of_night == several.slowest).sum())
            rest = past - several.means[several.of_night]
            past = level + rest
        else:
            past = past[older:]
            found = levels(past)
            lengths = [each.stop - each.start for each in found]
            means = [float(past[each.start : each.stop].mean()) for each in found]
            count, level, nights = len(found), means[-1], lengths[-1]
            rest = past - np.repeat(means, lengths)
        correlation = _correlation(rest, count)
        added = rest[1:] - correlation * rest[:-1]
        freedom = max(len(added) - count - (share > 0), 1)
        scatter = max(math.sqrt(float(added @ added) / freedom), _SMALLEST)
        return cls(
            past, level, nights, correlation, scatter, freedom, share, control_level, several
        )

    def at_fastest(self) -> Reference:
        """The same at the fastest level that the machine comes back to."""
        if self.recurring is None:
            return self
        level = float(self.recurring.means[0])
        nights = int((self.recurring.of_night == 0).sum())
        return replace(self, past=self.past - self.level + level, level=level, nights=nights)

    def moved(self, cleaned: Series) -> Series:
        """Cleaned logarithms of other nights, as if they had been on the slowest level in use."""
        if self.recurring is None:
            return cleaned
        return cleaned - self.recurring.nearest(cleaned) + self.level

    def cleaned(self, value: float, control: float | None) -> float:
        """A logarithm with what the control did divided out."""
        if control is None:
            return value
        return value - self.share * (control - self.control_level)

    def difference(self, value: float, control: float | None = None) -> LevelDifference:
        """Hold a night against what is expected of it.

        Args:
            value: its logarithm.
            control: that of the control in the same night.
        """
        night = self.cleaned(value, control)
        left = 1 - self.correlation  # of a step, after the night before has told its share
        added = (night - self.level) - self.correlation * (self.past[-1] - self.level)
        tonight = self._tested(added, math.sqrt(1 + 1 / self.nights), night - added)
        if min(self.nights, len(self.past)) < _LEAST_PAST:
            return tonight
        # As if the step was last night: then that night does not count for the level.
        nights = self.nights - 1
        level = (self.level * self.nights - self.past[-1]) / nights
        before = (self.past[-1] - level) - self.correlation * (self.past[-2] - level)
        after = (night - level) - self.correlation * (self.past[-1] - level)
        weight = 1 + left**2
        effect = (before + left * after) / weight
        error = math.sqrt(1 / weight + ((1 + left) / weight) ** 2 / nights)
        two = self._tested(effect, error, level)
        return self._together(tonight, two)

    def drift(self, baseline: Series, recent: Series, allowed: float) -> LevelDifference:
        """Hold the latest nights together against those of the pinned baseline.

        Args:
            baseline: (N,) cleaned logarithms of nights in order.
            recent: (M,) those of the latest nights, none of which is in the baseline.
            allowed: the logarithm that may come and go without a word.

        Returns: the chances are of a drift within what is allowed.
        """
        deviation = self.scatter / math.sqrt(1 - self.correlation**2)
        error = deviation * math.sqrt(self._spread(len(baseline)) + self._spread(len(recent)))
        expected = float(baseline.mean())
        effect = float(recent.mean()) - expected
        reach = quantile(0.025, self.freedom) * error
        return LevelDifference(
            expected,
            effect,
            effect - reach,
            effect + reach,
            upper_tail((effect - allowed) / error, self.freedom),
            upper_tail((-effect - allowed) / error, self.freedom),
        )

    def _spread(self, nights: int) -> float:
        """The variance of a mean of as many nights in a row, where that of one night is 1."""
        lags = np.arange(1, nights)
        return float(nights + 2 * ((nights - lags) * self.correlation**lags).sum()) / nights**2

    def _tested(self, effect: float, error: float, expected: float) -> LevelDifference:
        error *= self.scatter
        reach = quantile(0.025, self.freedom) * error
        return LevelDifference(
            expected,
            effect,
            effect - reach,
            effect + reach,
            upper_tail(effect / error, self.freedom),
            upper_tail(-effect / error, self.freedom),
        )

    @staticmethod
    def _together(tonight: LevelDifference, two: LevelDifference) -> LevelDifference:
        """Each test with its share of the false alarms; shown is what the more telling one says."""
        slower = min(tonight.slower / TONIGHT_SHARE, two.slower / (1 - TONIGHT_SHARE), 1.0)
        faster = min(tonight.faster / TONIGHT_SHARE, two.faster / (1 - TONIGHT_SHARE), 1.0)
        telling = min((tonight, TONIGHT_SHARE), (two, 1 - TONIGHT_SHARE), key=_chance)[0]
        return telling._replace(slower=slower, faster=faster)


def _chance(test: tuple[LevelDifference, float]) -> float:
    difference, share = test
    return min(difference.slower, difference.faster) / share


def _share(past: Series, control: Series) -> float:
    """As much of the control as moved with the cell: all of it where both move together.

    A control that moves by itself, divided out whole, would add its own scatter to the cell's.
    By changes from night to night, where a step of the cell is one number. What a line of least
    distances leaves is cut off before the squares count (one step of Huber's regression): so a step
    of the cell alone hardly counts, and a step of cell and control together counts whole.
    """
    ours, its = np.diff(past), np.diff(control)
    square = float(its @ its)
    if not square:
        return 0.0
    first = _median_slope(ours, its)
    rest = ours - first * its
    usual = _OUTLIER * float(np.median(np.abs(rest)))
    share = first + float(np.clip(rest, -usual, usual) @ its) / square
    return min(max(share, 0.0), 1.0)


def _median_slope(ours: Series, its: Series) -> float:
    """Of a line through the origin with the least sum of distances: a weighted median of ratios."""
    has_moved = its != 0
    ratios, weights = ours[has_moved] / its[has_moved], np.abs(its[has_moved])
    order = np.argsort(ratios)
    sums = np.cumsum(weights[order])
    return float(ratios[order][np.searchsorted(sums, sums[-1] / 2)])


def _correlation(rest: Series, pieces: int) -> float:
    """Of neighbours, made less sure of itself by what is usual."""
    square = float(rest @ rest)
    if square <= _SMALLEST**2:
        return 0.0
    nights = len(rest)
    seen = float(rest[1:] @ rest[:-1]) / square
    seen += pieces * (1 + 4 * max(seen, 0.0)) / nights  # a mean of its own makes it look smaller
    blended = (nights * seen + _PRIOR_NIGHTS * _PRIOR_CORRELATION) / (nights + _PRIOR_NIGHTS)
    return min(max(blended, 0.0), _HIGHEST_CORRELATION)
