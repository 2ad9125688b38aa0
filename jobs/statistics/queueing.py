"""A queue with one server, first come first served: when each request is answered.

By Lindley's recursion (Lindley 1952, "The theory of queues with a single server"): a request begins
when it arrives or when the one before it ends, whichever is later. That holds for any arrivals and
any times of service (G/G/1), whether they are independent or not.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]


def queue_responses(arrived: Numbers, service: Numbers) -> Numbers:
    """Return the time from arrival to answer of each request.

    Unrolled, the recursion `end = max(arrived, end before) + service` is a running maximum: some
    request was the last that did not wait, and all since then were served without a pause.

    Args:
        arrived: (..., N) ascending along the last axis.
        service: (..., N) in the same unit.
    """
    served = np.cumsum(service, axis=-1)
    idle_begin = np.maximum.accumulate(arrived - (served - service), axis=-1)
    responses: Numbers = idle_begin + served - arrived
    return responses


def service_after_pauses(
    arrived: Numbers, service: Numbers, rested: Numbers, pause: float
) -> Numbers:
    """Return the time of service of each request if a server that has paused takes another one.

    Which requests it pauses before depends on the times of those before them. So all are taken to
    follow a pause, then those that do by these times, until nothing changes: each pass settles
    at least one request more, and most of them at once.

    Args:
        arrived: (..., N) ascending along the last axis.
        service: (..., N) in the same unit, without a pause before.
        rested: (..., N) after one.
        pause: the shortest idle time that is one; before the first request there is one.
    """
    found = rested
    while True:
        ended = arrived + queue_responses(arrived, found)
        is_rested = np.ones(found.shape, bool)
        is_rested[..., 1:] = arrived[..., 1:] - ended[..., :-1] >= pause
        settled = np.where(is_rested, rested, service)
        if np.array_equal(settled, found):
            return settled
        found = settled
