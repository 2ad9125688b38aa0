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
