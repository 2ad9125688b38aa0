"""The simulation: exact where times are constant, overloaded where it must be, and its draws."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from jobs.analysis.serving.service_times import ServiceTimes
from jobs.analysis.serving.simulation import (
    RATE_DRAWS,
    REQUESTS,
    Requests,
    simulate,
    simulate_rate,
)
from jobs.plan.arrivals import Arrivals


def times(ms: list[float], images: int = 4, rounds: int = 2) -> ServiceTimes:
    """Of every image the same at each exit."""
    return ServiceTimes(
        10 * np.arange(images),
        tuple(range(len(ms))),
        np.broadcast_to(np.array(ms, np.float64), (rounds, images, len(ms))).copy(),
    )


def requests(arrived_ms: list[float], exits: list[int]) -> Requests:
    """Of the first images in turn."""
    return Requests(
        np.array(arrived_ms, np.float64),
        10 * (np.arange(len(exits)) % 4),
        np.array(exits, np.int64),
    )


def test_hand_worked_percentiles() -> None:
    """Responses of 1, 4, 3 and 1 ms: each image takes what its exit takes."""
    found = simulate(times([1.0, 4.0]), [requests([0, 5, 7, 100], [0, 1, 0, 0])])
    assert not found.is_overloaded
    # ends: 1, 9, 10, 101
    assert found.percentiles_ms == pytest.approx(
        {each: np.percentile([1, 4, 3, 1], each) for each in (50, 90, 99)}
    )
    assert found.busy_pct == pytest.approx(100 * 7 / 101)


def test_a_server_that_paused_takes_longer() -> None:
    """Twice as long at the first exit; not where a request waits, or comes within a millisecond."""
    paused = replace(times([1.0, 4.0]), pause_ratios=np.array([2.0, 1.5]))
    # Hand-worked: the first takes 2, the second waits and takes 1; then 0.5 ms idle: 1; then 6.
    found = simulate(paused, [requests([0, 1, 3.5, 100], [0, 0, 0, 1])])
    assert found.percentiles_ms == pytest.approx(
        {each: np.percentile([2, 2, 1, 6], each) for each in (50, 90, 99)}
    )
    assert found.pause_ratio == pytest.approx(12 / 7)
    assert simulate(times([1.0, 4.0]), [requests([0], [0])]).pause_ratio is None


def test_overload_is_as_when_it_is_measured() -> None:
    """By the longest wait; or, at a rate, by whether more comes than can be answered."""
    queue = [requests([0, 1, 2], [0, 0, 0])]
    assert simulate(times([10.0]), queue, 18.5).percentiles_ms
    assert simulate(times([10.0]), queue, 17.5).is_overloaded
    images, exits = 10 * np.arange(4), np.zeros(4, np.int64)
    assert simulate_rate(times([10.0]), images, exits, 110.0).is_overloaded
    assert not simulate_rate(times([10.0]), images, exits, 80.0).is_overloaded


def test_overload_begins_where_it_is_met() -> None:
    """A wait that is just allowed is none; nor is a server that is always busy able to catch up."""
    queue = [requests([0, 1, 2], [0, 0, 0])]  # the last waits 18 ms
    assert not simulate(times([10.0]), queue, 18.0).is_overloaded
    found = simulate(times([10.0]), [requests([0, 20], [0, 0])])
    assert (found.is_overloaded, found.percentiles_ms) == (True, {})
    assert not simulate(times([10.0]), [requests([0, 21], [0, 0])], 0.5).is_overloaded


def test_percentiles_are_of_all_rounds_together() -> None:
    """Responses of 1 ms in one round and 3 ms in the other: nine of ten are within 3 ms."""
    rounds = [requests([0, 100], [exit_, exit_]) for exit_ in (0, 1)]
    assert simulate(times([1.0, 3.0]), rounds).percentiles_ms[90] == pytest.approx(3.0)


def test_a_rate_is_simulated_on_the_arrivals_of_the_first_round() -> None:
    """As many draws as it says, each time the same ones."""
    source = ServiceTimes(np.array([0]), (3,), np.arange(1.0, 9.0).reshape(8, 1, 1))
    arrived_ms = np.array(Arrivals(100.0, REQUESTS / 100).schedule_ns(0)) * 1e-6
    none = np.zeros(len(arrived_ms), np.int64)
    expected = simulate(source, [Requests(arrived_ms, none, none)], draws=RATE_DRAWS)
    found = simulate_rate(source, np.array([0]), np.array([0]), 100.0)
    assert found.percentiles_ms == expected.percentiles_ms
    assert found.busy_pct == expected.busy_pct


def test_constant_service_is_md1() -> None:
    """At 60 % of what a server bears, the mean number of busy servers is 0.6."""
    found = simulate_rate(times([6.0]), 10 * np.arange(4), np.zeros(4, np.int64), 100.0)
    assert found.busy_pct == pytest.approx(60, rel=0.02)
    assert found.percentiles_ms[50] >= 6.0
    assert found.percentiles_ms[50] < found.percentiles_ms[90] < found.percentiles_ms[99]


def test_times_are_drawn_among_rounds_and_images() -> None:
    """Of the image itself if it was timed, at its exit; of any other if it was not."""
    ms = np.arange(12, dtype=np.float64).reshape(2, 3, 2)
    source = ServiceTimes(np.array([3, 5, 9]), (1, 3), ms)
    random = np.random.default_rng(0)
    drawn = source.draw(np.full(500, 5), np.ones(500, np.int64), random)
    assert set(drawn.tolist()) == {3.0, 9.0}
    drawn = source.draw(np.full(500, 4), np.zeros(500, np.int64), random)
    assert set(drawn.tolist()) == {0.0, 2.0, 4.0, 6.0, 8.0, 10.0}
    drawn = source.draw(np.full(500, 99), np.zeros(500, np.int64), random)
    assert set(drawn.tolist()) == {0.0, 2.0, 4.0, 6.0, 8.0, 10.0}
