"""Schedules of requests: their rate, their gaps, and that they stay the same."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest

from jobs.plan.arrivals import Arrivals


def test_the_same_round_has_the_same_arrivals() -> None:
    """Pinned: a resumed run asks at the moments that the first try asked at."""
    moments = Arrivals(20, 60).schedule_ns(0)
    assert moments[:3] == [20_979_540, 79_934_132, 168_759_172]
    assert len(moments) == 1286
    assert moments == sorted(moments)
    assert moments[-1] < 60e9
    assert moments != Arrivals(20, 60).schedule_ns(1)
    assert moments != Arrivals(20, 60, seed=1).schedule_ns(0)


def test_another_rate_stretches_the_same_gaps() -> None:
    """So that models at two rates meet the same bursts."""
    slow, fast = (np.array(Arrivals(per_s, 50).schedule_ns(0)) for per_s in (10, 40))
    assert np.abs(slow[:400] - 4 * fast[:400]).max() <= 4


def test_gaps_are_exponential() -> None:
    """Mean, spread, and the share above the mean are those of the distribution."""
    gaps = np.diff(Arrivals(1000, 60).schedule_ns(0)) / 1e9
    assert gaps.mean() == pytest.approx(0.001, rel=0.02)
    assert gaps.std() == pytest.approx(0.001, rel=0.02)
    assert (gaps > 0.001).mean() == pytest.approx(np.exp(-1), abs=0.01)
    assert np.corrcoef(gaps[:-1], gaps[1:])[0, 1] == pytest.approx(0, abs=0.02)


def test_none_arrives_when_the_seconds_are_over() -> None:
    """They last until the moment that is no longer in them."""
    first_s = -math.log(1 - random.Random("0/0").random()) / 20  # noqa: S311 - no secret
    assert Arrivals(20, first_s).schedule_ns(0) == []
    assert Arrivals(20, math.nextafter(first_s, 1)).schedule_ns(0) == [20_979_540]


def test_a_round_ends_with_a_wait_of_a_quarter() -> None:
    """Of the seconds in which requests arrive."""
    assert Arrivals(20, 60).longest_wait_s == 15
