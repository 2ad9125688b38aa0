"""The queue: hand-worked values, a plain loop, and the formulas of M/D/1 and M/M/1."""

from __future__ import annotations

import numpy as np
import pytest

from jobs.statistics.queueing import queue_responses, service_after_pauses


def test_hand_worked() -> None:
    """Four requests: the second waits 2, the third 1, and the last finds the server idle."""
    arrived = np.array([0.0, 1.0, 5.0, 20.0])
    service = np.array([3.0, 3.0, 2.0, 4.0])
    # ends: 3, 6, 8, 24
    assert queue_responses(arrived, service).tolist() == [3, 5, 3, 4]


def test_equals_the_recursion() -> None:
    """Any arrivals, any times, several queues at once."""
    random = np.random.default_rng(0)
    arrived = np.cumsum(random.exponential(1.0, 500))
    service = random.gamma(0.5, 1.6, (3, 500))
    expected = np.empty_like(service)
    for queue in range(3):
        end = 0.0
        for place in range(500):
            end = max(arrived[place], end) + service[queue, place]
            expected[queue, place] = end - arrived[place]
    assert np.allclose(queue_responses(arrived, service), expected)


@pytest.mark.parametrize("load", [0.1, 0.6, 0.95, 2.0])
def test_pauses_equal_the_recursion(load: float) -> None:
    """A plain loop that knows when it was idle, on idle and on overloaded servers."""
    random = np.random.default_rng(0)
    arrived = np.cumsum(random.exponential(1.0, 500))
    service = random.gamma(0.5, 2 * load, (3, 500))
    rested = service * random.uniform(0.5, 3.0, (3, 500))
    expected = np.empty_like(service)
    for queue in range(3):
        end = -np.inf
        for place in range(500):
            has_paused = arrived[place] - end >= 0.3
            expected[queue, place] = (rested if has_paused else service)[queue, place]
            end = max(arrived[place], end) + expected[queue, place]
    assert (service_after_pauses(arrived, service, rested, 0.3) == expected).all()


@pytest.mark.parametrize("load", [0.3, 0.6, 0.8])
def test_md1_mean_wait(load: float) -> None:
    """Pollaczek-Khinchine for constant service: rho / (2 (1 - rho)) times of service."""
    arrived = np.cumsum(np.random.default_rng(1).exponential(1.0, 1_000_000))
    waits = queue_responses(arrived, np.full(len(arrived), load)) - load
    assert waits.mean() == pytest.approx(load * load / (2 * (1 - load)), rel=0.02)


@pytest.mark.parametrize("load", [0.3, 0.6, 0.8])
def test_mm1_quantiles(load: float) -> None:
    """Responses are exponential with the rate by which service outpaces arrivals."""
    random = np.random.default_rng(2)
    arrived = np.cumsum(random.exponential(1.0, 1_000_000))
    responses = queue_responses(arrived, random.exponential(load, len(arrived)))
    spare = 1 / load - 1
    assert responses.mean() == pytest.approx(1 / spare, rel=0.03)
    for share in (0.5, 0.9, 0.99):
        assert np.quantile(responses, share) == pytest.approx(-np.log(1 - share) / spare, rel=0.04)
