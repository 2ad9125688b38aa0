"""When requests arrive at a served model: a schedule that is known before the first of them.

As in the server scenario of MLPerf's LoadGen (Reddi et al. 2020, "MLPerf Inference Benchmark"):
single images, with independent exponential gaps. Nobody waits for an answer before the next request
arrives, so a slow answer delays those behind it and hides nothing.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

SEED = 0
"""Of all arrivals: every cell of a round is asked at the same moments, stretched by its rate."""

LONGEST_WAIT_SHARE = 0.25
"""A round is ended when a request has waited for this share of its seconds.

A server that keeps up never has so much to catch up on; one that does not would fall behind further
for as long as requests arrive, and its responses would tell how long it was measured."""

_NS_PER_S = 1e9


@dataclass(frozen=True)
class Arrivals:
    """Requests that arrive at random.

    Attributes:
        per_s: how many in a second, on average.
        seconds: for how long in each round.
        seed: of the gaps.
    """

    per_s: float
    seconds: float
    seed: int = SEED

    @property
    def longest_wait_s(self) -> float:
        """The wait with which a round is ended."""
        return self.seconds * LONGEST_WAIT_SHARE

    def schedule_ns(self, number: int) -> list[int]:
        """Return when the requests of a round arrive, in nanoseconds since its start.

        Gaps come from `random.Random.random`, whose values Python promises to keep: a round that is
        repeated later has the same arrivals.

        Args:
            number: of the round, from 0.
        """
        source = random.Random(f"{self.seed}/{number}")  # noqa: S311 - no secret
        moments: list[int] = []
        at_s = 0.0
        while True:
            at_s += -math.log(1.0 - source.random()) / self.per_s
            if at_s >= self.seconds:
                return moments
            moments.append(round(at_s * _NS_PER_S))
