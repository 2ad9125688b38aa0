"""Simulates a served model: requests in a queue, each with a time that its exit was seen to take.

A server that was idle takes longer for the next request: others have used the caches meanwhile. By
how much was measured apart from the responses (`jobs.worker.serving.measure_pauses`). The error
against measured responses shows what is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from jobs.analysis.serving.service_times import Indices, ServiceTimes
from jobs.plan.arrivals import Arrivals
from jobs.statistics.queueing import Numbers, queue_responses, service_after_pauses

PERCENTILES = (50, 90, 99)
DRAWS = 20
"""Simulations of measured arrivals with other times of the same images; figures are their means."""

REQUESTS, RATE_DRAWS = 10_000, 4
"""Requests and draws of a simulation at a rate that was not measured."""

PAUSE_MS = 1.0
"""The shortest idle time after which a server has paused: of a longer one it sleeps a part."""

_MS_PER_NS = 1e-6


@dataclass(frozen=True, eq=False)
class Requests:
    """The requests of one round.

    Attributes:
        arrived_ms: (N,) ascending.
        image_ids: (N,) which image each asks for.
        exits: (N,) where it exits, as an index of the exits.
    """

    arrived_ms: Numbers
    image_ids: Indices
    exits: Indices


@dataclass(frozen=True)
class SimulatedResponses:
    """Responses of a simulated queue.

    Attributes:
        is_overloaded: more arrives than can be answered, so that there are no percentiles.
        busy_pct: share of the time in which a request was served.
        percentiles_ms: responses by PERCENTILES; empty if overloaded.
        pause_ratio: how many times as long a request takes after a pause; None if not measured.
    """

    is_overloaded: bool
    busy_pct: float
    percentiles_ms: dict[int, float]
    pause_ratio: float | None


def simulate(
    times: ServiceTimes,
    rounds: Sequence[Requests],
    longest_wait_ms: float | None = None,
    draws: int = DRAWS,
) -> SimulatedResponses:
    """Simulate rounds of requests, with several draws of their times.

    Args:
        times: what an image takes at an exit.
        rounds: at least one, none of them empty.
        longest_wait_ms: a round in which a request waits longer is overloaded, as when it is
            measured; None: if requests arrive faster than they are served on average.
        draws: how many.
    """
    random = np.random.default_rng(0)
    responses, busy, longest = [], [], 0.0
    ratios = []
    for each in rounds:
        shape = (draws, len(each.arrived_ms))
        service = times.draw(
            np.broadcast_to(each.image_ids, shape), np.broadcast_to(each.exits, shape), random
        )
        if times.pause_ratios is not None:
            rested = service * times.pause_ratios[each.exits]
            ratios.append(float(rested.mean() / service.mean()))
            service = service_after_pauses(each.arrived_ms, service, rested, PAUSE_MS)
        found = queue_responses(each.arrived_ms, service)
        longest = max(longest, float((found - service).max()))
        lasted_ms = float((each.arrived_ms + found)[:, -1].mean())
        busy.append((float(service.sum()) / draws, lasted_ms, float(each.arrived_ms[-1])))
        responses.append(found)
    served_ms, lasted_ms, arriving_ms = np.sum(busy, axis=0).tolist()
    if longest_wait_ms is None:
        is_overloaded = served_ms >= arriving_ms
    else:
        is_overloaded = longest > longest_wait_ms
    figures = np.percentile(np.concatenate(responses, axis=1), PERCENTILES, axis=1).mean(axis=1)
    return SimulatedResponses(
        is_overloaded,
        100 * served_ms / lasted_ms,
        {} if is_overloaded else dict(zip(PERCENTILES, figures.tolist(), strict=True)),
        fmean(ratios) if ratios else None,
    )


def simulate_rate(
    times: ServiceTimes, image_ids: Indices, exits: NDArray[np.integer], per_s: float
) -> SimulatedResponses:
    """Simulate REQUESTS at a rate.

    Args:
        times: what an image takes at an exit.
        image_ids: (N,) the images that requests take in turn.
        exits: (N,) where they exit, as indices of the exits.
        per_s: how many requests arrive in a second, on average.
    """
    arrived_ms = np.array(Arrivals(per_s, REQUESTS / per_s).schedule_ns(0)) * _MS_PER_NS
    repeats = ceil(len(arrived_ms) / len(image_ids))
    requests = Requests(
        arrived_ms,
        np.tile(image_ids, repeats)[: len(arrived_ms)],
        np.tile(exits, repeats)[: len(arrived_ms)].astype(np.int64),
    )
    return simulate(times, [requests], draws=RATE_DRAWS)
