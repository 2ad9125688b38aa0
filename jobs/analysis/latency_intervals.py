"""Confidence intervals of the mean latencies of a run: times from SQL, bootstrapped.

Of cells whose rounds end when their figures are known, by the rule that ended them: an interval
that was looked at to end it when it is narrow must be wider than one of planned rounds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

import storage
from jobs.common.formatting import Row
from jobs.statistics.bootstrap import IntervalEstimate, Numbers, estimate_mean
from jobs.statistics.sequential import half_width

FEWEST_ROUNDS = 3
"""Rounds from which on the interval of a mean is worth showing.

One round does not show how rounds differ. Of two, Student's t makes the interval 12.7 times as wide
as their difference suggests: often wider than the mean is long.
"""


@dataclass(frozen=True)
class MeanLatency:
    """The mean forward latency of one row of the ladder.

    Attributes:
        forward_ms: per image, with its 95 % interval.
        rounds: number of unthrottled rounds that it is computed from.
    """

    forward_ms: IntervalEstimate
    rounds: int

    @property
    def interval_ms(self) -> IntervalEstimate | None:
        """The mean with its 95 % interval, to be shown; None for fewer than FEWEST_ROUNDS."""
        return self.forward_ms.of_time() if self.rounds >= FEWEST_ROUNDS else None

    def margin_ms(self, digits: int) -> float | None:
        """Return the larger side of the interval, rounded up; None if there is none to show.

        Rounding up to this many decimals never overstates the precision.
        """
        if self.interval_ms is None:
            return None
        value, low, high = self.forward_ms
        scale = 10.0**digits
        # Rounded to 6 places first: a sum in another order differs in its last bit.
        return math.ceil(round(max(value - low, high - value) * scale, 6)) / scale


Means = Mapping[tuple[str, str | None], MeanLatency]
"""Mean latencies by cell and node, the key of a row of the ladder."""


def make_key(row: Row) -> tuple[str, str | None]:
    """Return the key in `Means` of a row of the ladder."""
    return row["cell_id"], row["node"]


def mean_latencies(root: storage.Root, run_id: str) -> Means:
    """Return the mean latency of each routed cell and node of a run with enough samples."""
    rows = storage.named_query(root, "timed_batches", run_ids=[run_id], run_id=run_id).to_pylist()
    looked = storage.named_query(root, "looked_at", run_ids=[run_id], run_id=run_id).to_pylist()
    looks = {row["cell_id"]: row["rounds"] for row in looked}
    means = {}
    for key, group in groupby(rows, key=make_key):
        rounds = [(np.array(row["total_ms"]), np.array(row["images"])) for row in group]
        cell_id, _ = key
        mean = _mean_at(rounds, looks[cell_id]) if cell_id in looks else estimate_mean(rounds)
        means[key] = MeanLatency(mean, len(rounds))
    return means


def _mean_at(rounds: Sequence[tuple[Numbers, Numbers]], look: int) -> IntervalEstimate:
    """Return the mean of rounds after so many have run, with an interval that may be looked at."""
    total_ms, images = (
        np.array([part.sum() for part in parts]) for parts in zip(*rounds, strict=True)
    )
    value = float(total_ms.sum() / images.sum())
    if len(rounds) < FEWEST_ROUNDS:
        return IntervalEstimate(value, -math.inf, math.inf)
    reach = float(half_width(total_ms / images, look))
    return IntervalEstimate(value, value - reach, value + reach)
