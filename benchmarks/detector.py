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

Other machines have the same nights and, on top of them, nights that are 10 % slower for cell and
control alike: two speed states that are tossed each night, or that last 5 or 10 nights on average,
or one night in ten. With heavy tails, what a night adds to the one before it has Student's t with 3
degrees of freedom and the same variance. `first` counts the alarms of machines that had not yet
been in their slow state and back: until then it looks like a regression. Slowdowns are planted into
both states.

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
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from jobs.analysis.regressions.accuracy import judge_accuracy
from jobs.analysis.regressions.detector import RECENT
from jobs.analysis.regressions.latency import Nights, Pair, find_change
from jobs.analysis.regressions.settings import Settings
from jobs.statistics.mcnemar import AnswerChanges

NIGHT, CORRELATION, ROUND = 0.015, 0.5, 0.01
DRIFT, MONTH = 0.01, 30
ROUNDS, LEAST_ROUNDS = 3, 2
THROTTLED, SLOWER = 0.03, 0.25
PLANTED, PLANTED_AT = 0.05, 40
FIRST_JUDGED = 10
WITHIN, LATER = 2, 20
STATE, SLOW_NIGHTS = 0.10, 0.1
FREEDOM = 3
FALSE_ALARMS, FOUND = 1.0, 0.95  # the aims: in 100 nights a device; within 2 nights

NAME = 29  # columns of the table's names

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
    """A cell and its control, when the machine was slow, and a stream for measuring again."""

    cell: Cell
    control: Cell | None
    is_slow: NDArray[np.bool_]
    generator: np.random.Generator


@dataclass(frozen=True)
class Machine:
    """How its nights differ.

    Attributes:
        slow: the chance of a slow night, where each is drawn by itself.
        stay: the chance that a night is as the one before it, where states last.
        has_tails: whether nights have heavy tails.
    """

    slow: float = 0.0
    stay: float | None = None
    has_tails: bool = False

    def states(self, generator: np.random.Generator, nights: int) -> NDArray[np.bool_]:
        """(N,) whether each night is slow."""
        if self.stay is None:
            return generator.random(nights) < self.slow
        changes = generator.random(nights) >= self.stay
        changes[0] = generator.random() < 0.5  # noqa: PLR2004 - a coin
        return np.cumsum(changes) % 2 == 1


STEADY = Machine()


def levels(generator: np.random.Generator, nights: int, *, has_tails: bool = False) -> Numbers:
    """(N,) of an autocorrelated series."""
    if has_tails:
        deviation = math.sqrt(FREEDOM / (FREEDOM - 2))
        added = generator.standard_t(FREEDOM, nights) * NIGHT / deviation
    else:
        added = generator.normal(0, NIGHT, nights)
    added[1:] *= math.sqrt(1 - CORRELATION**2)
    for night in range(1, nights):
        added[night] += CORRELATION * added[night - 1]
    return added


def simulate(seed: int, nights: int, shared: float | None, machine: Machine = STEADY) -> History:
    """One history; `shared` of the variance of a night's level is the control's too."""
    generator = np.random.default_rng(seed)
    own, common = (levels(generator, nights, has_tails=machine.has_tails) for _ in range(2))
    is_slow = np.zeros(nights, dtype=bool)
    if machine.slow or machine.stay is not None:
        is_slow = machine.states(generator, nights)
    slower = math.log1p(STATE) * is_slow
    part = shared or 0.0
    drift = DRIFT / MONTH * np.arange(nights)
    mixed = math.sqrt(1 - part) * own + math.sqrt(part) * common
    cell = _cell(generator, mixed + drift + slower)
    control = None if shared is None else _cell(generator, common + slower)
    return History(cell, control, is_slow, generator)


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
        window = settings.window
        older = earlier[-2 * window : -window]
        past = Nights(earlier[-window:], pinned, history.control is not None, older)
        if (
            not past.are_enough
            or find_change(past, tonight, settings, allowed).verdict != "suspect"
        ):
            yield False, False
            continue
        again = _again(history, number)
        told = find_change(past, again, settings, allowed, is_again=True).verdict == "regression"
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


def alarms(told: Sequence[bool]) -> list[int]:
    """The told nights that follow one without an alarm, from the first judged on."""
    before = [False, *told[FIRST_JUDGED:]]
    return [FIRST_JUDGED + n for n, now in enumerate(before[1:]) if now and not before[n]]


def has_returned(is_slow: NDArray[np.bool_], night: int) -> bool:
    """Whether the machine had been fast, then slow, then fast again before a night."""
    changes = np.flatnonzero(np.diff(is_slow[:night]))
    return len(changes) >= (3 if is_slow[0] else 2)


def our_line(
    seeds: Sequence[int], nights: int, shared: float | None, cells: int, machine: Machine
) -> str:
    """Ours on one kind of history; `cells` of a device share the false alarms allowed."""
    settings = Settings()
    allowed = settings.false_alarms / cells
    false = first = again = 0
    later = min(LATER, nights - PLANTED_AT)
    found = np.zeros(later)
    for seed in seeds:
        history = simulate(seed, nights, shared, machine)
        told, remeasured = zip(
            *ours(history, settings, range(FIRST_JUDGED, nights), allowed), strict=True
        )
        nights_told = alarms([False] * FIRST_JUDGED + list(told))
        false += len(nights_told)
        first += sum(not has_returned(history.is_slow, night) for night in nights_told)
        again += sum(remeasured)
        history = simulate(seed, nights, shared, machine)
        planted = replace(history, cell=history.cell.slower(PLANTED_AT))
        looked = ours(planted, settings, range(PLANTED_AT, PLANTED_AT + later), allowed)
        hit = next((place for place, (is_told, _) in enumerate(looked) if is_told), later)
        found[hit:] += 1
    judged = len(seeds) * (nights - FIRST_JUDGED) / 100
    firsts = f"{cells * first / judged:.2f}" if machine.slow or machine.stay else "–"
    shares = found[[0, WITHIN - 1, later - 1]] / len(seeds)
    return _line(cells * false / judged, firsts, shares, f"{cells * again / judged:.1f}")


def _line(false: float, first: str, found: Iterable[float], again: str) -> str:
    shares = [f"{share:.1%}" for share in found]
    return f"{false:8.2f}{first:>7}" + "".join(f"{share:>10}" for share in shares) + f"{again:>6}"


def rival_line(
    seeds: Sequence[int],
    nights: int,
    rule: Callable[[Numbers], list[bool]],
    *,
    with_throttled: bool,
) -> str:
    """A rule that knows no control, on the same cells."""
    false = 0
    later = min(LATER, nights - PLANTED_AT)
    found = np.zeros(later)
    for seed in seeds:
        cell = simulate(seed, nights, None).cell
        false += len(alarms(rule(_filled(means(cell, with_throttled=with_throttled)))))
        slower = _filled(means(cell.slower(PLANTED_AT), with_throttled=with_throttled))
        told = rule(slower[: PLANTED_AT + later])[PLANTED_AT:]
        found[told.index(True) if any(told) else later :] += 1
    judged = len(seeds) * (nights - FIRST_JUDGED) / 100
    return _line(false / judged, "–", found[[0, WITHIN - 1, later - 1]] / len(seeds), "–")


def _filled(series: Numbers) -> Numbers:
    """A night without any round is as the one before it."""
    for night in np.flatnonzero(np.isnan(series)):
        series[night] = series[night - 1] if night else 0.0
    return series


def accuracy_line(seeds: Sequence[int], images: int) -> str:
    """Drops of 0.5 points found the same night, and alarms where nothing changed."""
    settings, found, false = Settings(), 0, 0
    for seed in seeds:
        generator = np.random.default_rng(seed)
        first = generator.random(images) < 0.9  # noqa: PLR2004 - an accuracy
        second = first.copy()
        won = generator.permutation(np.flatnonzero(~first))[: generator.integers(images // 50)]
        lost = generator.permutation(np.flatnonzero(first))[: len(won) + math.ceil(images / 200)]
        second[won], second[lost] = True, False
        found += judge_accuracy(AnswerChanges.between(first, second), settings, 0.01) == "suspect"
        false += judge_accuracy(AnswerChanges.between(first, first), settings, 0.01) == "suspect"
    return f"{100 * false / len(seeds):8.2f}{'–':>7}{found / len(seeds):>10.1%}"


KINDS = {
    "ours, control shares all": (1.0, 1),
    "ours, control shares half": (0.5, 1),
    "ours, no control": (None, 1),
    "ours, half, 4 cells a device": (0.5, 4),
}

MACHINES = {
    "coin-toss states": Machine(stay=0.5),
    "5-night states": Machine(stay=0.8),
    "10-night states": Machine(stay=0.9),
    "10 % slow nights": Machine(slow=SLOW_NIGHTS),
    "heavy tails": Machine(has_tails=True),
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
        f" night {NIGHT:.1%},\nautocorrelation {CORRELATION}, round {ROUND:.0%},"
        f" {THROTTLED:.0%} of rounds throttled, drift {DRIFT:.0%} in {MONTH} nights;\n"
        f"planted: {PLANTED:.0%} slower from night {PLANTED_AT + 1} on"
    )
    heads = "".join(f"{head:>10}" for head in ("1st night", f"{WITHIN} nights", f"{LATER} nights"))
    print(f"{'in 100 nights a device:':{NAME}}{'alarms':>8}{'first':>7}{heads}{'again':>6}")
    kinds = {name: (*kind, STEADY) for name, kind in KINDS.items()}
    for name, machine in MACHINES.items():
        kinds |= {f"{name}, half": (0.5, 1, machine), f"{name}, no control": (None, 1, machine)}
    for name, kind in kinds.items():
        print(f"{name:{NAME}}{our_line(seeds, options.nights, *kind)}", flush=True)
    rivals = {"fixed 7 %": fixed, "asv-style": asv_style}
    for name, rule in rivals.items():
        for with_throttled in (True, False):
            named = f"{name}, {'all rounds' if with_throttled else 'unthrottled'}"
            line = rival_line(seeds, options.nights, rule, with_throttled=with_throttled)
            print(f"{named:{NAME}}{line}", flush=True)
    for images in (1_000, 10_000):
        print(f"{f'accuracy -0.5, {images:,} images':{NAME}}{accuracy_line(seeds, images)}")
    print(f"aims: at most {FALSE_ALARMS:g} alarm; {FOUND:.0%} within {WITHIN} nights; accuracy all")
    print(f"{time.perf_counter() - began:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
