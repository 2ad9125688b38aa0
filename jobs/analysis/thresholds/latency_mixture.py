"""The latency of thresholds, composed from exit costs: mean and percentiles, with intervals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from jobs.statistics.bootstrap import IntervalEstimate, estimates

_ROUNDING = 1e-9  # of a sum of shares

Rounds = Sequence[NDArray[np.float64]]
"""One (n, E) array per round: the time of each image when forced to each exit."""


def compose(
    rounds: Rounds, shares: Sequence[float], percentiles: Sequence[float], *, looked: float = 1.0
) -> list[IntervalEstimate]:
    """Estimate the mean of the mixture, then its percentiles.

    Each image forced to an exit is weighted by the share of all images that exit there. A
    percentile is the shortest time that this share of the mixture stays within. Intervals are by
    bootstrap over rounds, then over the images of each drawn round, with all exits of an image
    together; where images exit is taken as given.

    Args:
        rounds: at least one, none of them empty.
        shares: (E,), sum 1.
        percentiles: from 0 to 100.
        looked: how many times as wide the intervals must be, since rounds ended because their
            figures were known; 1 if their number was planned.
    """
    costs = np.concatenate(list(rounds))
    weights = np.asarray(shares, np.float64)
    used = np.flatnonzero(weights)
    flat = costs[:, used].ravel()
    order = np.argsort(flat, kind="stable")
    image_of, exit_of = np.divmod(order, len(used))
    ascending, share_of = flat[order], weights[used][exit_of]
    means = costs @ weights
    wanted = np.asarray(percentiles, np.float64) / 100

    def figures(counts: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return mean and percentiles, with image i counted counts[i] times."""
        within = np.cumsum(counts[image_of] * share_of) / counts.sum()
        places = np.searchsorted(within, wanted - _ROUNDING)
        return np.array([counts @ means / counts.sum(), *ascending[places]])

    found = estimates(figures, [len(costs) for costs in rounds])
    return [
        IntervalEstimate(
            value, value - looked * (value - low), value + looked * (high - value)
        ).of_time()
        for value, low, high in found
    ]
