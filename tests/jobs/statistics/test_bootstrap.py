"""The bootstrap over rounds and what was timed in them: by hand, and against standard errors."""

from __future__ import annotations

import numpy as np
import pytest

from jobs.statistics.bootstrap import estimate_mean, stretch

TWO = 12.70620  # Student's t of two rounds, whose mean has half of their distance as its error


def one_by_one(forward_ms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A round of batches of one image."""
    return forward_ms, np.ones(len(forward_ms))


def test_two_rounds_by_hand() -> None:
    """Of four draws of two rounds one is twice the first and one twice the second: 1 ms away."""
    rounds = [one_by_one(np.full(500, ms)) for ms in (101.0, 103.0)]
    assert estimate_mean(rounds) == pytest.approx((102, 102 - TWO, 102 + TWO), rel=1e-4)


@pytest.mark.parametrize(
    ("rounds", "student"), [(3, 4.302653), (11, 2.228139), (12, 2.200985), (31, 2.042272)]
)
def test_the_stretch_is_that_of_students_t(rounds: int, student: float) -> None:
    """From tables of t at 97.5 %; the bootstrap's own deficit is the square root beside it."""
    expected = student / 1.959964 * (rounds / (rounds - 1)) ** 0.5
    assert stretch(rounds) == pytest.approx(expected, rel=1e-3)
    assert stretch(1) == 1


def test_the_interval_holds_the_truth() -> None:
    """In 95 % of series of three rounds, not in the 73 % of plain resamples; 3.3 deviations."""
    generator = np.random.default_rng(7)
    held = 0
    for _ in range(200):
        true_ms = 10 + generator.normal(0, 0.1, size=(3, 1))
        rounds_ms = true_ms + generator.normal(0, 0.1, size=(3, 30))
        estimate = estimate_mean([one_by_one(round_ms) for round_ms in rounds_ms])
        held += estimate.low <= 10 <= estimate.high
    assert 180 <= held <= 199


def test_one_round_is_known_as_its_images_say() -> None:
    """1.96 standard errors to each side, of which the bootstrap knows nothing."""
    forward_ms = np.random.default_rng(3).exponential(2, size=4000)
    mean = estimate_mean([one_by_one(forward_ms)])
    error = 1.96 * forward_ms.std() / np.sqrt(len(forward_ms))
    assert mean.value == pytest.approx(forward_ms.mean())
    assert mean.value - mean.low == pytest.approx(error, rel=0.15)
    assert mean.high - mean.value == pytest.approx(error, rel=0.15)


def test_rounds_count_by_their_images() -> None:
    """As in the mean over all rows: 300 images of 101 ms and 100 of 105 ms."""
    rounds = [one_by_one(np.full(n, ms)) for n, ms in ((300, 101.0), (100, 105.0))]
    expected = (102, 102 - TWO, 102 + 3 * TWO)
    assert estimate_mean(rounds) == pytest.approx(expected, rel=1e-4)


def test_images_of_a_batch_say_no_more_than_one() -> None:
    """Batches of 16 that share a time make the interval of as many images, four times as wide."""
    batch_ms = np.random.default_rng(5).exponential(2, size=250)
    batched = estimate_mean([(16 * batch_ms, np.full(250, 16.0))])
    alone = estimate_mean([one_by_one(np.repeat(batch_ms, 16))])
    assert batched.value == pytest.approx(alone.value)
    assert (batched.high - batched.low) / (alone.high - alone.low) == pytest.approx(4, rel=0.2)


def test_no_time_is_negative() -> None:
    """Of two rounds that differ, the interval is stretched far; below 0 there is no time."""
    mean = estimate_mean([one_by_one(np.full(20, ms)) for ms in (1.0, 5.0)])
    assert (mean.value, mean.low) == (3, 0)
    assert mean.high > 20


def test_a_short_last_batch_weighs_less() -> None:
    """The mean is over images, not over batches."""
    mean = estimate_mean([(np.array([8.0, 6.0]), np.array([4.0, 1.0]))])
    assert mean.value == pytest.approx(14 / 5)
    assert (mean.low, mean.high) == pytest.approx((2, 6))
