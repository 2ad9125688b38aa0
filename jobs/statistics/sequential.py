"""Intervals that hold although somebody looks after some rounds, and stops when they are narrow.

Group-sequential error spending: the looks are fixed before anything is measured, and each has a
share of the 5 % (Lan and DeMets 1983, Biometrika 70, 659-663). Here the shares simply add up, so
the intervals of all looks hold together in 95 % of cases, whatever makes somebody stop: no look
needs to be independent of another, and none has to be planned to be the last. How much is spent by
a number of rounds is a function of that number alone, so a later end changes no earlier interval.

Within a look, rounds may resemble the one before: `autocorrelation` weights how much, and the
interval is by the mixture of Student's t that follows (as `log_ratio`). A disturbance that no round
had yet is in no interval: of disturbances in 1 of 20 rounds, 8 rounds have none in two of three
runs. `benchmarks/until.py` measures the share of intervals that hold the truth.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from jobs.statistics.autocorrelation import mean_variances, spread
from jobs.statistics.student_t import mixed_quantile

OUTSIDE = 0.05
"""Share of cases in which an interval of any look misses."""

FIRST_LOOK = 3
"""Rounds of the first look: of two, Student's t makes the interval wider than any use."""

_HALF_SPENT = 12.0  # rounds by which half of OUTSIDE is spent: most plans end around these
_STEEPNESS = 1.5  # how little is spent before: three rounds seldom are enough
_LAST_DOUBLING = 20  # a million rounds: more than a grid may ask for

Numbers = NDArray[np.float64]


@lru_cache
def looks(fewest: int, most: int) -> tuple[int, ...]:
    """Return the numbers of rounds after which to look: at least `fewest`, the last one `most`.

    They grow by a third or a half: 3, 4, 6, 8, 12, 16, 24, 32, ... So whoever looks runs at most
    half as many rounds more than needed, and few looks share what may be spent.
    """
    return (*(look for look in _schedule() if fewest <= look < most), most)


def spend(look: int) -> float:
    """Return the share of cases that may miss at a look: what is spent since the one before.

    The looks below a plan's fewest rounds are never used, nor is their share. A number of rounds
    between two looks has what may be spent by then, and takes it from the next one.
    """
    before = max((each for each in _schedule() if each < look), default=0)
    return OUTSIDE * (_spent(look) - _spent(before))


def half_width(rounds: Numbers, look: int, ahead: int | None = None) -> Numbers:
    """Return half the width of the interval of the mean, at a look.

    Args:
        rounds: (..., R) the value of each round that counts, in the order in which they ran; at
            least two.
        look: rounds that have run, throttled ones included.
        ahead: the rounds that a mean will have, for a forecast from these; None: R.

    Returns: (...), 0 where all rounds are equal.
    """
    number = rounds.shape[-1]
    found = spread(rounds)
    likely = np.exp(found.evidence - found.evidence.max(axis=-1, keepdims=True))
    weights = likely / likely.sum(axis=-1, keepdims=True)
    variances, freedom = found.variances, number - 1
    if ahead is not None:
        variances = variances * mean_variances(ahead) / mean_variances(number)
        freedom = ahead - 1
    scales = np.sqrt(np.maximum(variances, np.finfo(np.float64).tiny))
    reach = mixed_quantile(spend(look) / 2, scales, np.full_like(scales, freedom), weights)
    return np.where(np.ptp(rounds, axis=-1) > 0, reach, 0.0)


@lru_cache
def _schedule() -> tuple[int, ...]:
    doubled = {FIRST_LOOK * 2**k for k in range(_LAST_DOUBLING)} | {
        4 * 2**k for k in range(_LAST_DOUBLING)
    }
    return tuple(sorted(doubled))


def _spent(rounds: int) -> float:
    """Return which part of OUTSIDE is spent by a number of rounds: 0 at none, 1 in the limit."""
    if rounds < FIRST_LOOK:
        return 0.0
    return 1 / (1 + math.pow(_HALF_SPENT / rounds, _STEEPNESS))
