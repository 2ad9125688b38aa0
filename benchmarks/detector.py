"""False alarms and finds on simulated nights: ours, a fixed 7 %, and steps as asv takes them.

A history is 60 nights of one cell and a control model on one device. The logarithm of a night's
level has a standard deviation of 1.5 % and an autocorrelation of 0.5, and drifts up by 1 % in 30
nights; a night has 3 rounds, each 1 % off by itself; 3 % of all rounds are throttled, 25 % slower
and flagged. A told change is an alarm where the night before had none; nights before the 11th are
not judged. Into a copy of each history a slowdown of 5 % is planted from night 41 on, and nights 41
and 42 are looked at.

What the control shares of a night's level decides most, so there are three kinds of history:
all of it (the machine's nights differ, not the cells), half of its variance, and no control.
Drift and planted slowdowns are the cell's own.

A suspect is measured again with twice the rounds. This measurement has the LEVEL OF THE SAME
NIGHT, of cell and control: it takes away what the rounds of the first were off by, and nothing
else. Of a night's level only the control tells, as far as it shares it.

The fixed rule tells what is 7 % slower than the night before. The asv-style one fits L1-Potts
levels, its penalty chosen by an information criterion as asv does, and tells where the last level
is 5 % above the least before it. Both are shown with all rounds, since neither knows of throttling,
and with flagged rounds left out.

Answers do not vary from night to night: accuracy is held against the night before on the same
images, 0.5 points planted.

    python benchmarks/detector.py [--series 200] [--nights 60] [--seed 0]
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jobs.comparison.mcnemar import Changes
from jobs.regressions.answers import verdict_of
from jobs.regressions.detector import RECENT
from jobs.regressions.settings import Settings
from jobs.regressions.timing import Nights, Pair, find

NIGHT, CORRELATION, ROUND = 0.015, 0.5, 0.01
DRIFT, MONTH = 0.01, 30
ROUNDS, LEAST_ROUNDS = 3, 2
THROTTLED, SLOWER = 0.03, 0.25
PLANTED, PLANTED_AT = 0.05, 40
FIRST_JUDGED = 10
WITHIN = 2
FALSE_ALARMS, FOUND = 1.0, 0.95  # the aims: in 100 nights a device; within 2 nights

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Cell:
    """Nights of one cell: (N,) levels and (N, rounds) logarithms; throttled rounds are flagged."""

    level: Numbers
    rounds: Numbers
    is_throttled: NDArray[np.bool_]

    def night(self, number: int) -> float | None:
        """The mean of the rounds that are not throttled; None where too few are left."""
        kept = self.rounds[number][~self.is_throttled[number]]
        return float(kept.mean()) if len(kept) >= LEAST_ROUNDS else None

    def slower(self, since: int) -> Cell:
        """The same with the slowdown planted."""
        step = math.log1p(PLANTED) * (np.arange(len(self.level)) >= since)
        return Cell(self.level + step, self.rounds + step[:, None], self.is_throttled)


@dataclass(frozen=True)
class History:
    """A cell and its control, and a stream for measuring again."""

    cell: Cell
    control: Cell | None
    generator: np.random.Generator


def levels(generator: np.random.Generator, nights: int) -> Numbers:
    """(N,) of an autocorrelated series."""
    added = generator.normal(0, NIGHT, nights)
    added[1:] *= math.sqrt(1 - CORRELATION**2)
    for night in range(1, nights):
        added[night] += CORRELATION * added[night - 1]
    return added


def simulate(seed: int, nights: int, shared: float | None) -> History:
    """One history; `shared` of the variance of a night's level is the control's too."""
    generator = np.random.default_rng(seed)
    own, common = levels(generator, nights), levels(generator, nights)
    part = shared or 0.0
    drift = DRIFT / MONTH * np.arange(nights)
    cell = _cell(generator, math.sqrt(1 - part) * own + math.sqrt(part) * common + drift)
    control = None if shared is None else _cell(generator, common)
    return History(cell, control, generator)


def _cell(generator: np.random.Generator, level: Numbers) -> Cell:
    shape = (len(level), ROUNDS)
    is_throttled = generator.random(shape) < THROTTLED
    rounds = level[:, None] + generator.normal(0, ROUND, shape) + SLOWER * is_throttled
    return Cell(level, rounds, is_throttled)


def ours(
    history: History, settings: Settings, nights: Sequence[int], allowed: float
) -> Iterator[tuple[bool, bool]]:
    """Of each night: whether something is told, and whether it is measured again."""
    for number in nights:
        tonight = _pair(history, number)
        if tonight is None:
            yield False, False
            continue
        earlier = [pair for night in range(number) if (pair := _pair(history, night))]
        pinned = earlier[: max(min(RECENT, len(earlier) - RECENT + 1), 0)]
        past = Nights(earlier[-settings.window :], pinned, history.control is not None)
        if not past.are_enough or find(past, tonight, settings, allowed).verdict != "suspect":
            yield False, False
            continue
        again = _again(history, number)
        told = find(past, again, settings, allowed, is_again=True).verdict == "regression"
        yield told, True


def _pair(history: History, number: int) -> Pair | None:
    value = history.cell.night(number)
    if history.control is None:
        return None if value is None else Pair(math.exp(value))
    control = history.control.night(number)
    return None if value is None or control is None else Pair(math.exp(value), math.exp(control))


def _again(history: History, number: int) -> Pair:
    """Twice the rounds, in the same night."""
    off = history.generator.normal(0, ROUND / math.sqrt(2 * ROUNDS), 2)
    value = math.exp(history.cell.level[number] + off[0])
    if history.control is None:
        return Pair(value)
    return Pair(value, math.exp(history.control.level[number] + off[1]))


def means(cell: Cell, *, with_throttled: bool) -> Numbers:
    """(N,) what a rule sees that does not know of invalid nights: NaN where nothing is left."""
    if with_throttled:
        return cell.rounds.mean(axis=1)
    kept = np.where(cell.is_throttled, np.nan, cell.rounds)
    counts = (~cell.is_throttled).sum(axis=1)
    return np.where(counts > 0, np.nansum(kept, axis=1) / np.maximum(counts, 1), np.nan)


def fixed(series: Numbers) -> list[bool]:
    """Whether each night is told: 7 % slower than the night before."""
    return [False, *(np.diff(series) > math.log1p(0.07)).tolist()]


def asv_style(series: Numbers) -> list[bool]:
    """Whether each night is told, as asv would after it: by levels of all nights so far."""
    count, shortest = len(series), 2
    cost = np.full((count + 1, count + 1), np.inf)
    middle = np.zeros((count + 1, count + 1))
    for length in range(shortest, count + 1):
        windows = np.lib.stride_tricks.sliding_window_view(series, length)
        medians = np.median(windows, axis=1)
        starts = np.arange(count - length + 1)
        cost[starts, starts + length] = np.abs(windows - medians[:, None]).sum(axis=1)
        middle[starts, starts + length] = medians
    prices = np.geomspace(0.003, 0.6, 16)
    fits = [_fits(cost, price) for price in prices]
    told = [False] * count
    for stop in range(FIRST_JUDGED, count + 1):
        beta = 4 * math.log(stop) / stop
        scored = [
            (beta * pieces[stop] + math.log(1e-9 + best[stop] - price * pieces[stop]), number)
            for number, (price, (best, pieces, _)) in enumerate(zip(prices, fits, strict=True))
        ]
        starts_of = fits[min(scored)[1]][2]
        found, end = [], stop
        while end:
            found.append(middle[starts_of[end], end])
            end = int(starts_of[end])
        told[stop - 1] = len(found) > 1 and found[0] - min(found[1:]) > math.log1p(0.05)
    return told


def _fits(cost: Numbers, price: float) -> tuple[Numbers, NDArray[np.int64], NDArray[np.int64]]:
    """The least total of each beginning of a series, its pieces, and where the last one starts."""
    count = len(cost) - 1
    best = np.full(count + 1, np.inf)
    pieces, starts = np.zeros(count + 1, dtype=np.int64), np.zeros(count + 1, dtype=np.int64)
    best[0] = 0
    for stop in range(1, count + 1):
        totals = best[:stop] + cost[:stop, stop] + price
        starts[stop] = int(np.argmin(totals))
        best[stop] = totals[starts[stop]]
        pieces[stop] = pieces[starts[stop]] + 1
    return best, pieces, starts


def edges(told: Sequence[bool]) -> int:
    """How many told nights follow one without an alarm, from the first judged on."""
    judged = list(told)[FIRST_JUDGED:]
    return sum(now and not before for before, now in zip([False, *judged], judged, strict=False))


def our_line(seeds: Sequence[int], nights: int, shared: float | None, cells: int) -> str:
    """Ours on one kind of history; `cells` of a device share the false alarms allowed."""
    settings = Settings()
    allowed = settings.false_alarms / cells
    alarms = again = 0
    found = np.zeros(WITHIN)
    for seed in seeds:
        told, remeasured = zip(
            *ours(simulate(seed, nights, shared), settings, range(FIRST_JUDGED, nights), allowed),
            strict=True,
        )
        alarms += edges([False] * FIRST_JUDGED + list(told))
        again += sum(remeasured)
        history = simulate(seed, nights, shared)
        planted = History(history.cell.slower(PLANTED_AT), history.control, history.generator)
        looked = range(PLANTED_AT, PLANTED_AT + WITHIN)
        hits = [told for told, _ in ours(planted, settings, looked, allowed)]
        found += np.logical_or.accumulate(hits)
    judged = len(seeds) * (nights - FIRST_JUDGED) / 100
    return (
        f"{cells * alarms / judged:9.2f}{found[0] / len(seeds):11.1%}{found[1] / len(seeds):11.1%}"
        f"{cells * again / judged:10.1f}"
    )


def rival_line(
    seeds: Sequence[int],
    nights: int,
    rule: Callable[[Numbers], list[bool]],
    *,
    with_throttled: bool,
) -> str:
    """A rule that knows no control, on the same cells."""
    alarms = 0
    found = np.zeros(WITHIN)
    for seed in seeds:
        cell = simulate(seed, nights, None).cell
        alarms += edges(rule(_filled(means(cell, with_throttled=with_throttled))))
        slower = _filled(means(cell.slower(PLANTED_AT), with_throttled=with_throttled))
        told = rule(slower[: PLANTED_AT + WITHIN])[PLANTED_AT:]
        found += np.logical_or.accumulate(told)
    judged = len(seeds) * (nights - FIRST_JUDGED) / 100
    return (
        f"{alarms / judged:9.2f}{found[0] / len(seeds):11.1%}{found[1] / len(seeds):11.1%}{'–':>10}"
    )


def _filled(series: Numbers) -> Numbers:
    """A night without any round is as the one before it."""
    for night in np.flatnonzero(np.isnan(series)):
        series[night] = series[night - 1] if night else 0.0
    return series


def accuracy_line(seeds: Sequence[int], images: int) -> str:
    """Drops of 0.5 points found the same night, and alarms where nothing changed."""
    settings, found, alarms = Settings(), 0, 0
    for seed in seeds:
        generator = np.random.default_rng(seed)
        first = generator.random(images) < 0.9  # noqa: PLR2004 - an accuracy
        second = first.copy()
        won = generator.permutation(np.flatnonzero(~first))[: generator.integers(images // 50)]
        lost = generator.permutation(np.flatnonzero(first))[: len(won) + math.ceil(images / 200)]
        second[won], second[lost] = True, False
        found += verdict_of(Changes.between(first, second), settings, 0.01) == "suspect"
        alarms += verdict_of(Changes.between(first, first), settings, 0.01) == "suspect"
    return f"{100 * alarms / len(seeds):9.2f}{found / len(seeds):11.1%}"


KINDS = {
    "ours, control shares all": (1.0, 1),
    "ours, control shares half": (0.5, 1),
    "ours, no control": (None, 1),
    "ours, half, 4 cells a device": (0.5, 4),
}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--series", type=int, default=200)
    parser.add_argument("--nights", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.nights < PLANTED_AT + WITHIN:
        parser.error(f"--nights {options.nights}: at least {PLANTED_AT + WITHIN}")
    seeds = range(options.seed, options.seed + options.series)
    began = time.perf_counter()
    print(
        f"{options.series} series of {options.nights} nights, seeds {seeds[0]} to {seeds[-1]}:"
        f" night {NIGHT:.1%}, autocorrelation {CORRELATION}, round {ROUND:.0%},\n"
        f"{THROTTLED:.0%} of rounds throttled, drift {DRIFT:.0%} in {MONTH} nights; planted:"
        f" {PLANTED:.0%} slower from night {PLANTED_AT + 1} on"
    )
    print(
        f"{'in 100 nights a device:':31}{'alarms':>9}{'1st night':>11}{'2 nights':>11}{'again':>10}"
    )
    for name, (shared, cells) in KINDS.items():
        print(f"{name:31}{our_line(seeds, options.nights, shared, cells)}", flush=True)
    rivals = {"fixed 7 %": fixed, "asv-style": asv_style}
    for name, rule in rivals.items():
        for with_throttled in (True, False):
            named = f"{name}, {'all rounds' if with_throttled else 'unthrottled'}"
            line = rival_line(seeds, options.nights, rule, with_throttled=with_throttled)
            print(f"{named:31}{line}", flush=True)
    for images in (1_000, 10_000):
        print(f"{f'accuracy -0.5, {images:,} images':31}{accuracy_line(seeds, images)}")
    print(f"aims: at most {FALSE_ALARMS:g} alarm; {FOUND:.0%} within {WITHIN} nights; accuracy all")
    print(f"{time.perf_counter() - began:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
