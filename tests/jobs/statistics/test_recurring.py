"""Levels that a machine comes back to: by hand, and on nights with planted truth."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from jobs.analysis.regressions.latency import Finding, Nights, Pair, find_change
from jobs.analysis.regressions.settings import Settings
from jobs.statistics.recurring import Recurring, Series, recurring

SETTINGS = Settings()


def on(levels: str, *values: float, scatter: float = 0.0) -> Series:
    """One night per letter, a at the first value; every other night up or down by the scatter."""
    heights = dict(zip("abc", values or (0.0, 0.1, 0.2), strict=False))
    wobble = scatter * np.resize([1, -1], len(levels))
    return np.array([heights[level] for level in levels]) + wobble


def noisy(levels: str, seed: int = 1) -> Series:
    """The same with 1 % of scatter."""
    return on(levels) + np.random.default_rng(seed).normal(0, 0.01, len(levels))


def judged(past: Series, tonight: float, *, is_again: bool = False) -> Finding:
    """A night held against all before it."""
    pairs = [Pair(math.exp(value)) for value in past]
    nights = Nights(pairs[-30:], pairs[: len(pairs) // 4][:7], is_controlled=False)
    return find_change(nights, Pair(math.exp(tonight)), SETTINGS, 0.01, is_again=is_again)


def known(series: Series) -> Recurring:
    """Its levels, of which there are several."""
    found = recurring(series)
    assert found is not None
    return found


def test_there_and_back_by_hand() -> None:
    """Two levels, their means, who was on which, three changes."""
    found = known(on("aaaaaabbaaaaab", scatter=0.005))
    assert found.means == pytest.approx([0.0, 0.1], abs=0.002)
    assert "".join("ab"[level] for level in found.of_night) == "aaaaaabbaaaaab"
    assert (found.slowest, found.changes) == (1, 3)
    assert found.nearest(np.array([-0.2, 0.04, 0.06])) == pytest.approx(found.means[[0, 0, 1]])


@pytest.mark.parametrize(
    "levels",
    [
        "aaaaaaaaaaaaaaaa",
        "aaaaaaaabbbbbbbb",  # a regression that stays
        "bbbbbbbbaaaaaaaa",  # an improvement
        "bbbbbbaaaaabbbbb",  # an improvement that was lost: to the slow level it came back once
        "aaaaabbbbbbccccc",  # two regressions
        "cccccbbbbbaaaaa",
    ],
)
def test_one_level_at_a_time(levels: str) -> None:
    """Nothing slower has passed."""
    assert recurring(noisy(levels)) is None


def test_three_levels_and_the_slowest_that_passed() -> None:
    """The third level is in use once it was left; before, the second one is the slowest."""
    assert known(noisy("aabaabbaaabaaacacaabaa")).slowest == 2
    assert known(noisy("aabaabbaaabaaabaaabccc")).slowest == 1


@pytest.mark.parametrize(("nights", "slowest"), [(9, 1), (10, 0)])
def test_a_stay_that_is_too_long_is_a_step(nights: int, slowest: int) -> None:
    """A stay of one night, then one of 10 or 11 nights with tonight, in a window of 30.

    A stay begins in 2 of 30 nights; one of 11 has the chance (2 / 12)², of 10 (2 / 11)²: 0.0019 and
    0.0022 in a night, where 0.002 are allowed.
    """
    levels = "a" * (29 - nights - 8) + "b" + "a" * 8 + "b" * nights
    assert len(levels) == 30
    assert known(noisy(levels)).slowest == slowest


def test_long_stays_let_expect_long_ones() -> None:
    """After two stays of 5 nights, 10 nights are usual."""
    assert known(noisy("aaabbbbbaaaabbbbbaaabbbbbbbbbb")).slowest == 1


def test_one_level_is_seldom_taken_for_several() -> None:
    """30 autocorrelated nights without a change, 300 times."""
    generator = np.random.default_rng(2)
    nights = generator.normal(0, 1, (300, 30))
    for night in range(1, 30):
        nights[:, night] = 0.5 * nights[:, night - 1] + nights[:, night] * 0.75**0.5
    assert sum(recurring(series) is not None for series in nights) <= 9


def test_a_slow_night_of_a_machine_with_two_states() -> None:
    """No regression, whatever night it is; faster than the fastest is better, slower is worse."""
    past = noisy("abaabbabaababbbaabab")
    for is_again in (False, True):
        slow = judged(past, 0.1, is_again=is_again)
        assert slow.verdict == "levels"
        assert slow.difference.effect == pytest.approx(0.1, abs=0.02)
        assert slow.difference.expected == pytest.approx(0.0, abs=0.02)
    assert judged(past, 0.0).verdict == "ok"
    assert judged(past, -0.1).verdict == "improvement"
    worse = judged(past, 0.15, is_again=True)
    assert (worse.verdict, worse.kind) == ("regression", "step")
    assert worse.difference.effect == pytest.approx(0.05, abs=0.02)


def test_a_slow_night_that_never_passed_is_told() -> None:
    """One level before it, or one step."""
    for levels in ("a" * 20, "bbbbbbbbbbaaaaaaaaaa"):
        assert judged(noisy(levels), 0.1, is_again=True).verdict == "regression"


def test_a_step_after_one_bad_night_is_told_in_the_end() -> None:
    """As slow as the bad night, and for good: first `levels`, told once the stay is too long."""
    past = noisy("a" * 20 + "b" + "a" * 8)
    verdicts = []
    for night in np.random.default_rng(3).normal(0.1, 0.01, 16):
        verdicts.append(judged(past[-30:], night, is_again=True).verdict)
        past = np.append(past, night)
    assert set(verdicts[:5]) == {"levels"}
    assert verdicts[12:] == ["regression"] * 4


def told(machine: str, slower: float, seeds: Sequence[int], nights: int = 8) -> int:
    """In how many series of 30 nights something is told in the next ones, which are slower."""
    count = 0
    for seed in seeds:
        generator = np.random.default_rng(seed)
        states = "".join(generator.choice(list(machine), 30 + nights))
        series = noisy(states, seed + 1)
        series[30:] += slower
        count += any(
            judged(series[:night], series[night], is_again=True).verdict == "regression"
            for night in range(30, 30 + nights)
        )
    return count


def test_both_states_slower_is_found() -> None:
    """By 6 % of states that are 10 % apart: within 8 nights nearly always, and else nothing."""
    assert told("ab", 0.06, range(10)) >= 8
    assert told("ab", 0.0, range(10)) <= 1
