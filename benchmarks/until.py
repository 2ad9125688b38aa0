"""How often intervals hold the truth whose rounds ended when they were narrow, and what they cost.

Rounds are simulated: a mean time of 100, off by a standard deviation of what the table says, each
round correlated with the one before (AR(1)), or with outliers: *rare* rounds, 1 in 20, take 10
standard deviations longer, *heavy* ones, 1 in 10, are off by 5 times as much to either side. The
truth is the mean over infinitely many rounds, outliers included. They go through what ends rounds
(`jobs.statistics.sequential`): looks at 3, 4, 6, 8, 12, ... rounds until the 95 % interval reaches
1 % to either side, at the latest at 40.

*Holds*: the share of intervals that hold the truth, where the rounds ended. *Reached*: the share
that ended before or at 40 because they were narrow. *Rounds*: their mean number, and the saving
beside a fixed plan of 40. *Fixed*: the fewest rounds, planned beforehand by who knows how they
differ, whose usual interval (the same rule with one look) is that narrow in the median. *Naive*:
what holds if Student's t for independent, planned rounds is looked at after each round from 3 on
until it is narrow. *Compared*: with a second run of the same, the share of 95 % intervals that hold
no difference, as `gfjobs compare` has them: each with the smaller share of the error that the looks
of both may spend. Standard errors of shares are at most 0.5 points.

Last, outliers that are larger and rarer than any rule can know of: rounds that ended before the
first of them are too sure. Nothing is judged there.

    python benchmarks/until.py [--small] [--cases 2000] [--until 1] [--most 40] [--seed 0]
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from comparison import levels
from numpy.typing import NDArray

from jobs.statistics.log_ratio import log_ratio
from jobs.statistics.sequential import FIRST_LOOK, OUTSIDE, half_width, looks, spend
from jobs.statistics.student_t import quantile

MEAN = 100.0
HELD = 1 - OUTSIDE  # the aim: at least
HEAVY, WIDER = 0.1, 5.0
IMAGES = 2  # of a compared round; they differ by nothing

Numbers = NDArray[np.float64]
Draw = Callable[[np.random.Generator, tuple[int, int]], Numbers]


@dataclass(frozen=True)
class Noise:
    """How rounds differ, in standard deviations; `mean` is that of its outliers."""

    name: str
    draw: Draw
    mean: float = 0.0


def correlated(rho: float) -> Noise:
    """Each round correlates with the one before."""
    return Noise(f"AR(1) {rho:g}" if rho else "independent", lambda g, s: levels(g, s, rho))


def outliers(name: str, share: float, longer: float, rho: float = 0.0) -> Noise:
    """Some rounds take longer by so many standard deviations."""

    def draw(generator: np.random.Generator, shape: tuple[int, int]) -> Numbers:
        return levels(generator, shape, rho) + longer * (generator.random(shape) < share)

    return Noise(name, draw, share * longer)


def heavy(generator: np.random.Generator, shape: tuple[int, int]) -> Numbers:
    """Some rounds are off by several times as much."""
    return levels(generator, shape, 0.0) * np.where(generator.random(shape) < HEAVY, WIDER, 1.0)


JUDGED = (
    *map(correlated, (0.0, 0.3, 0.6, 0.7)),
    outliers("rare", 1 / 20, 10),
    outliers("rare, AR(1) 0.6", 1 / 20, 10, 0.6),
    Noise("heavy", heavy),
)
BEYOND = (outliers("1 in 20, 20 sd", 1 / 20, 20), outliers("1 in 50, 50 sd", 1 / 50, 50))


@dataclass(frozen=True)
class Ended:
    """Where rounds ended: (cases,) each, except `drawn`, (cases, rounds)."""

    drawn: Numbers
    rounds: NDArray[np.int64]
    reach: Numbers
    holds: NDArray[np.bool_]


def draw(noise: Noise, sd: float, shape: tuple[int, int], seed: int) -> Numbers:
    """(cases, rounds) times of rounds."""
    generator = np.random.default_rng(seed)
    return MEAN * (1 + sd / 100 * noise.draw(generator, shape))


def end(drawn: Numbers, truth: float, until_pct: float) -> Ended:
    """End each case as a run would."""
    cases, most = drawn.shape
    rounds, reach = np.zeros(cases, np.int64), np.zeros(cases)
    open_cases = np.arange(cases)
    for look in looks(FIRST_LOOK, most):
        seen = drawn[open_cases, :look]
        found = half_width(seen, look)
        is_over = (100 * found <= until_pct * seen.mean(axis=1)) | (look == most)
        rounds[open_cases[is_over]], reach[open_cases[is_over]] = look, found[is_over]
        open_cases = open_cases[~is_over]
        if not len(open_cases):
            break
    means = np.array([row[:number].mean() for row, number in zip(drawn, rounds, strict=True)])
    return Ended(drawn, rounds, reach, np.abs(means - truth) <= reach)


def fixed(drawn: Numbers, until_pct: float) -> int | None:
    """The fewest planned rounds whose interval is that narrow in the median; None: more than all.

    With one look, all of the error is spent there.
    """
    for rounds in range(FIRST_LOOK, drawn.shape[1] + 1):
        logs = np.log(drawn[:300, :rounds, None])
        low, high = log_ratio(np.zeros_like(logs), logs, are_paired=True).interval()
        if np.median(100 * (high - low) / 2) <= until_pct:
            return rounds
    return None


def naive_holds(drawn: Numbers, truth: float, until_pct: float) -> float:
    """The share of intervals that hold the truth, by Student's t at each round."""
    cases, most = drawn.shape
    holds, is_open = np.zeros(cases, bool), np.ones(cases, bool)
    for rounds in range(FIRST_LOOK, most + 1):
        seen = drawn[:, :rounds]
        means = seen.mean(axis=1)
        reach = quantile(OUTSIDE / 2, rounds - 1) * seen.std(axis=1, ddof=1) / np.sqrt(rounds)
        is_over = is_open & ((100 * reach <= until_pct * means) | (rounds == most))
        holds[is_over] = (np.abs(means - truth) <= reach)[is_over]
        is_open &= ~is_over
    return float(holds.mean())


def compared_holds(first: Ended, second: Ended) -> float:
    """The share of intervals of a comparison of two such runs that hold no difference."""
    held = []
    for a, b in {*zip(first.rounds.tolist(), second.rounds.tolist(), strict=True)}:
        cases = np.flatnonzero((first.rounds == a) & (second.rounds == b))
        sides = [
            np.repeat(np.log(each.drawn[cases, :number, None]), IMAGES, axis=2)
            for each, number in ((first, a), (second, b))
        ]
        share = min(spend(a), spend(b)) / OUTSIDE
        low, high = log_ratio(*sides).interval(share)
        held.append((low <= 0) & (high >= 0))
    return float(np.concatenate(held).mean())


def line(noise: Noise, sd: float, options: argparse.Namespace) -> tuple[str, float]:
    """A line of the table, and the smaller share that holds, alone or compared."""
    shape = (options.cases, options.most)
    truth = MEAN * (1 + sd / 100 * noise.mean)
    first, second = (
        end(draw(noise, sd, shape, seed), truth, options.until)
        for seed in (options.seed, options.seed + 1)
    )
    reached = np.mean(100 * first.reach <= options.until * first.drawn.mean())
    planned = fixed(first.drawn, options.until) or f">{options.most}"
    naive = naive_holds(first.drawn, truth, options.until)
    rounds = first.rounds.mean()
    held = float(first.holds.mean())
    compared = compared_holds(first, second)
    text = (
        f"{noise.name:16}{sd:6g}{held:8.1%}{reached:9.0%}{rounds:8.1f}"
        f"{1 - rounds / options.most:9.0%}{planned:>7}{naive:8.0%}"
        f"{compared:10.1%}"
    )
    return text, min(held, compared)


def main() -> None:
    """Print the table; exit code 1 where an aim is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="a few cases, nothing is judged")
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--until", type=float, default=1, help="percent")
    parser.add_argument("--most", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sd", type=float, nargs="+", default=[0.2, 0.5, 1])
    options = parser.parse_args()
    if options.small:
        options.cases, options.sd = 100, [0.5]
    began = time.perf_counter()
    print(
        f"until {options.until:g} %, at most {options.most} rounds, {options.cases} cases, seed"
        f" {options.seed}; sd: of rounds, percent"
    )
    print(
        f"{'rounds':16}{'sd':>6}{'holds':>8}{'reached':>9}{'rounds':>8}{'saved':>9}{'fixed':>7}"
        f"{'naive':>8}{'compared':>10}"
    )
    least = 1.0
    for noises, is_judged in ((JUDGED, True), (BEYOND, False)):
        for noise in noises:
            for sd in options.sd:
                text, held = line(noise, sd, options)
                least = min(least, held) if is_judged else least
                print(text, flush=True)
        if is_judged:
            print(f"aim: holds at least {HELD:.0%}; least {least:.1%}")
            print("beyond what any rule can know, not judged:")
    print(f"{time.perf_counter() - began:.0f} s", file=sys.stderr)
    sys.exit(least < HELD and not options.small)


if __name__ == "__main__":
    main()
