"""Whether a night differs from the nights before it: levels, scatter, autocorrelation, control.

A night's mean is known within the night far better than nights agree with each other. So what
counts is how nights scatter, and that each night resembles the one before: a night is judged by how
much it differs from what the nights before it predict. These have one level at a time, with steps
between (`change_points`), or several levels that the machine returns to (`recurring`). With
several, the earlier nights are moved to the slowest level in use, and the night is compared with
that level.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from jobs.statistics.change_points import levels
from jobs.statistics.recurring import Recurring, recurring
from jobs.statistics.student_t import quantile, upper_tail

TONIGHT_SHARE = 0.2
"""Share of the accepted false alarms for the test of tonight alone; the rest is for two nights
together, which detect a step in either night better than one does."""

_PRIOR_CORRELATION, _PRIOR_NIGHTS = 0.5, 10
"""The prior of the autocorrelation, and its weight in nights: 30 nights determine it only within
0.2, and too low."""

_HIGHEST_CORRELATION = 0.9
_OUTLIER = 5.0  # times the median distance: 3.4 standard deviations of a normal distribution
_LEAST_PAST = 3  # nights, to compare the last of them with those before it
_SMALLEST = 1e-9  # a smaller scatter means that numbers are equal

RECENT = 7
"""Number of latest nights compared together with the pinned baseline, and of baseline nights."""

Series = NDArray[np.float64]


class LevelDifference(NamedTuple):
    """The difference of a value's logarithm from the expected one, with its 95 % interval.

    `slower` and `faster` are the probabilities that a night without any change looks as much so.
    """

    expected: float
    effect: float
    low: float
    high: float
    slower: float
    faster: float


@dataclass(frozen=True)
class Reference:
    """What the earlier nights predict for a night.

    Attributes:
        past: (N,) logarithms, oldest first, with the control divided out; if the machine returns
            to several levels, each night is moved to the slowest in use.
        level: mean of the nights since the last step, or of the slowest level in use.
        nights: number of these nights.
        correlation: of a night with the one before it.
        scatter: standard deviation of what a night adds to the prediction from the one before it.
        freedom: degrees of freedom of the scatter.
        share: the power of the control's ratio that is divided out, 0 to 1.
        control_level: mean logarithm of the control.
        recurring: the levels that the machine returns to; None: there is one at a time.
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
        """Estimate the reference from earlier nights.

        Args:
            past: (N,) logarithms of a cell, oldest first, finite; at least 5.
            control: (N,) those of the control model in the same nights; None: there is none.
            older: number of oldest nights used only to find levels that the machine returns to.
            is_told: (N,) which nights were reported as regressions; None: none.
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
        """Return the reference at the fastest level that the machine returns to."""
        if self.recurring is None:
            return self
        level = float(self.recurring.means[0])
        nights = int((self.recurring.of_night == 0).sum())
        return replace(self, past=self.past - self.level + level, level=level, nights=nights)

    def moved(self, cleaned: Series) -> Series:
        """Move cleaned logarithms of other nights to the slowest level in use."""
        if self.recurring is None:
            return cleaned
        return cleaned - self.recurring.nearest(cleaned) + self.level

    def cleaned(self, value: float, control: float | None) -> float:
        """Return a logarithm with the control divided out."""
        if control is None:
            return value
        return value - self.share * (control - self.control_level)

    def difference(self, value: float, control: float | None = None) -> LevelDifference:
        """Compare a night with its prediction.

        Args:
            value: its logarithm.
            control: that of the control in the same night.
        """
        night = self.cleaned(value, control)
        left = 1 - self.correlation  # part of a step that the night before does not predict
        added = (night - self.level) - self.correlation * (self.past[-1] - self.level)
        tonight = self._tested(added, math.sqrt(1 + 1 / self.nights), night - added)
        if min(self.nights, len(self.past)) < _LEAST_PAST:
            return tonight
        # Assume that the step was last night: that night then does not count for the level.
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
        """Compare the latest nights together with those of the pinned baseline.

        Args:
            baseline: (N,) cleaned logarithms of nights in order.
            recent: (M,) those of the latest nights, none of which is in the baseline.
            allowed: the drift that is not reported, as a logarithm.

        Returns: a difference whose probabilities are for a drift within what is allowed.
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
        """Return the variance of the mean of consecutive nights, relative to that of one night."""
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
        """Combine both tests by their shares of the false alarms; report the more significant."""
        slower = min(tonight.slower / TONIGHT_SHARE, two.slower / (1 - TONIGHT_SHARE), 1.0)
        faster = min(tonight.faster / TONIGHT_SHARE, two.faster / (1 - TONIGHT_SHARE), 1.0)
        telling = min((tonight, TONIGHT_SHARE), (two, 1 - TONIGHT_SHARE), key=_chance)[0]
        return telling._replace(slower=slower, faster=faster)


def _chance(test: tuple[LevelDifference, float]) -> float:
    difference, share = test
    return min(difference.slower, difference.faster) / share


def _share(past: Series, control: Series) -> float:
    """Return the share of the control to divide out: 1 if cell and control move together.

    A control that moves by itself, if divided out in full, would add its own scatter to the cell's.
    The fit uses changes from night to night, in which a step of the cell is one number. Residuals
    of a line of least absolute distances are clipped before least squares (one step of Huber's
    regression): so a step of the cell alone hardly counts, and a step of both counts in full.
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
    """Return the least-distances slope through the origin: a weighted median of ratios."""
    has_moved = its != 0
    ratios, weights = ours[has_moved] / its[has_moved], np.abs(its[has_moved])
    order = np.argsort(ratios)
    sums = np.cumsum(weights[order])
    return float(ratios[order][np.searchsorted(sums, sums[-1] / 2)])


def _correlation(rest: Series, pieces: int) -> float:
    """Return the correlation of neighbouring nights, shrunk towards its prior."""
    square = float(rest @ rest)
    if square <= _SMALLEST**2:
        return 0.0
    nights = len(rest)
    seen = float(rest[1:] @ rest[:-1]) / square
    seen += pieces * (1 + 4 * max(seen, 0.0)) / nights  # a mean per piece biases it low
    blended = (nights * seen + _PRIOR_NIGHTS * _PRIOR_CORRELATION) / (nights + _PRIOR_NIGHTS)
    return min(max(blended, 0.0), _HIGHEST_CORRELATION)
