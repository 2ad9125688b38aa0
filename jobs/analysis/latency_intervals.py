"""Confidence intervals of the mean latencies of a run: times from SQL, bootstrapped."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby

import numpy as np

import storage
from jobs.analysis.statistics.bootstrap import IntervalEstimate, estimate_mean
from jobs.common.formatting import Row


@dataclass(frozen=True)
class MeanLatency:
    """The mean forward latency of one row of the ladder.

    Attributes:
        forward_ms: an image, with its 95 % interval.
        rounds: unthrottled ones, of which it is made.
    """

    forward_ms: IntervalEstimate
    rounds: int

    def margin_ms(self, digits: int) -> float:
        """How far the interval reaches to its farther side, rounded up to as many decimals.

        Up, so that what is shown never says that more is known.
        """
        value, low, high = self.forward_ms
        scale = 10.0**digits
        # Rounded first: a sum in another order differs in its last bit.
        return math.ceil(round(max(value - low, high - value) * scale, 6)) / scale


Means = Mapping[tuple[str, str | None], MeanLatency]
"""By cell and node, as the ladder has its rows."""


def make_key(row: Row) -> tuple[str, str | None]:
    """By what a row of the ladder finds its mean."""
    return row["cell_id"], row["node"]


def mean_latencies(root: storage.Root, run_id: str) -> Means:
    """The mean latency of each routed cell and node of a run that was timed often enough."""
    rows = storage.named_query(root, "timed_batches", run_ids=[run_id], run_id=run_id).to_pylist()
    means = {}
    for key, group in groupby(rows, key=make_key):
        rounds = [(np.array(row["total_ms"]), np.array(row["images"])) for row in group]
        means[key] = MeanLatency(estimate_mean(rounds), len(rounds))
    return means
