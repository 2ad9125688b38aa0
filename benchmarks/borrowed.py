"""How often the bounds of a borrowed accuracy hold, over many random samples of planted flips.

A device that lends and one that borrows answer the same images; of a share of them, the borrower
answers otherwise. Each of many random samples, without replacement, then bounds how far accuracy
and mean blocks can be off: at one threshold, as the ladder does, and at every point of the lender's
frontier at once, as `gfjobs curve` does. The bounds are those of `flip_bound`, by SQL; counted
here by sums over falling scores, as in frontier_flips.sql, which the tests compare with loops.

`one way`: every flipped image was right and exits first, and becomes wrong and exits last: the
difference is as large as the share of flips, so the bound has nothing to spare. `noisy`: flipped
images are answered anew at random, and all scores differ in their third decimal, so that most
images are flipped at some threshold.

A coverage is too low if so low a one would be seen in less than 1 % of all benchmarks with a bound
that holds in just 95 % of samples (one-sided binomial test); then the exit code is 1.

    python benchmarks/borrowed.py [--images 10000] [--sample 500] [--samples 1000] [--seed 0]
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import storage

CONFIDENCE = 0.95
SIGNIFICANCE = 0.01
RATES = (0.0, 0.0001, 0.001, 0.01, 0.05)
BLOCKS = np.array([3, 7, 11])
"""After which images exit: two gates, and the last of 12 blocks."""

AT = np.float32(0.5)
"""The threshold of the ladder's row."""

NOISE = 1e-3
RIGHT_AT_RANDOM = 0.5
PLANTS = ("one way", "noisy")


class Answers(NamedTuple):
    """Scores of the gates (2, N) and correctness at the exits (3, N)."""

    scores: NDArray[np.float32]
    is_correct: NDArray[np.bool_]

    def at(self, threshold: Any) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return after which block each image exits, and whether it is right, at its threshold."""
        is_out = self.scores >= threshold
        exits = np.where(is_out.any(axis=0), is_out.argmax(axis=0), len(BLOCKS) - 1)
        return BLOCKS[exits], self.is_correct[exits, np.arange(len(exits))]


def plant(
    images: int, rate: float, how: str, random: np.random.Generator
) -> tuple[Answers, Answers]:
    """Return the answers of a lender, and those of a borrower with a share of flipped images."""
    scores = random.random((2, images)).astype(np.float32)
    is_correct = random.random((3, images)) < np.array([[0.85], [0.9], [0.95]])
    flipped = random.permutation(images)[: round(rate * images)]
    if how == "one way":
        scores[0, flipped], is_correct[:, flipped] = 1, True
        own_scores, own_correct = scores.copy(), is_correct.copy()
        own_scores[:, flipped], own_correct[:, flipped] = 0, False
    else:
        noise = random.normal(0, NOISE, scores.shape).astype(np.float32)
        own_scores, own_correct = scores + noise, is_correct.copy()
        own_scores[:, flipped] = random.random((2, len(flipped)))
        own_correct[:, flipped] = random.random((3, len(flipped))) < RIGHT_AT_RANDOM
    return Answers(scores, is_correct), Answers(own_scores, own_correct)


class Steps(NamedTuple):
    """How images flip as a threshold falls: at which points, which of them, by how much."""

    places: NDArray[np.int64]
    images: NDArray[np.int64]
    flipped: NDArray[np.int64]
    moved: NDArray[np.int64]


def find_points(lender: Answers) -> NDArray[np.float32]:
    """Return the thresholds of a frontier, from +inf down."""
    first, second = lender.scores
    highs = np.concatenate([first, second[second > first]])
    return np.concatenate([[np.float32("inf")], np.unique(highs)[::-1]])


def find_steps(lender: Answers, borrower: Answers, points: NDArray[np.float32]) -> Steps:
    """Return where the state of an image changes, over all points of the lender."""
    images = lender.scores.shape[1]
    rows = np.arange(images)
    # An image changes only at its own four scores: its state just there, and what it was before.
    own = np.concatenate([lender.scores, borrower.scores])
    places = np.searchsorted(-points, -own)  # the first point that is not above the score
    places = np.sort(places, axis=0)
    before = differ(lender, borrower, np.full(images, np.inf))
    found = [(np.zeros(images, np.int64), rows, *before)]  # the first point is +inf
    for place in places:
        is_there = place < len(points)
        limits = np.where(is_there, points[np.minimum(place, len(points) - 1)], -np.inf)
        now = np.where(is_there, differ(lender, borrower, limits), before)
        found.append((place[is_there], rows[is_there], *(now - before)[:, is_there]))
        before = now
    return Steps(*(np.concatenate(each) for each in zip(*found, strict=True)))


def differ(lender: Answers, borrower: Answers, limits: NDArray[Any]) -> NDArray[np.int64]:
    """Return which images are flipped, and which exit elsewhere, each at its threshold: (2, N)."""
    lent, own = lender.at(limits), borrower.at(limits)
    return np.stack([lent[1] != own[1], lent[0] != own[0]]).astype(np.int64)


def find_differences(
    lender: Answers, borrower: Answers, points: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Return how far accuracy (share) and mean blocks are from each other at each point: (2, M)."""
    images = lender.scores.shape[1]
    totals = []
    for answers in (lender, borrower):
        places = np.sort(np.searchsorted(-points, -answers.scores), axis=0)
        change = np.zeros((2, len(points) + 1))
        before = np.stack([answers.is_correct[-1], np.full(images, BLOCKS[-1])]).astype(float)
        change[:, 0] = before.sum(axis=1)
        for place in places:
            is_there = place < len(points)
            limits = np.where(is_there, points[np.minimum(place, len(points) - 1)], -np.inf)
            blocks, is_right = answers.at(limits)
            now = np.where(is_there, np.stack([is_right, blocks]).astype(float), before)
            for row in range(2):
                np.add.at(change[row], place, now[row] - before[row])
            before = now
        totals.append(change[:, :-1].cumsum(axis=1) / images)
    return np.abs(totals[0] - totals[1])


class Bounds:
    """Bounds by number of flips, each asked for once."""

    def __init__(self, root: Path, sample: int) -> None:
        self._root, self.sample = root, sample
        self._known: dict[float, NDArray[np.float64]] = {}

    def by_number(self, misses: float) -> NDArray[np.float64]:
        """Return the bound for 0, 1, ... flips of the sample."""
        if misses not in self._known:
            table = storage.query(
                self._root,
                f"SELECT flip_bound(number, {self.sample}, {misses}) AS share"  # noqa: S608
                f" FROM range({self.sample} + 1) t(number) ORDER BY number",
            )
            self._known[misses] = table["share"].to_numpy()
        return self._known[misses]


class Coverage(NamedTuple):
    """Of how many samples the bounds held, and the median bounds.

    Attributes:
        accuracy, blocks: at one threshold.
        points: accuracy at all points of the frontier at once; blocks_points: mean blocks.
        bound, points_bound: medians, percentage points; the latter of the widest of each sample.
    """

    accuracy: int
    blocks: int
    points: int
    blocks_points: int
    bound: float
    points_bound: float


def cover(lender: Answers, borrower: Answers, bounds: Bounds, samples: int, seed: int) -> Coverage:
    """Draw samples, and count how often each bound holds."""
    random = np.random.default_rng(seed)
    images = lender.scores.shape[1]
    points = find_points(lender)
    steps = find_steps(lender, borrower, points)
    differences = find_differences(lender, borrower, points)
    lent, own = lender.at(AT), borrower.at(AT)
    at_one = differ(lender, borrower, AT)
    one = abs(lent[1].mean() - own[1].mean()), abs(lent[0].mean() - own[0].mean())
    scale = np.array([1, BLOCKS[-1] - BLOCKS[0]])
    single = bounds.by_number(1 - CONFIDENCE)
    every = bounds.by_number((1 - CONFIDENCE) / len(points))
    held, shown = np.zeros(4, int), []
    for _ in range(samples):
        is_drawn = np.zeros(images, bool)
        is_drawn[random.choice(images, bounds.sample, replace=False)] = True
        numbers = at_one[:, is_drawn].sum(axis=1)
        its = single[numbers] * scale
        is_ours = is_drawn[steps.images]
        widest = []
        for row, change in enumerate((steps.flipped, steps.moved)):
            counts = np.bincount(
                steps.places[is_ours], weights=change[is_ours], minlength=len(points)
            )
            at_points = every[counts.cumsum().round().astype(int)] * scale[row]
            held[2 + row] += bool((differences[row] <= at_points).all())
            widest.append(at_points.max())
            held[row] += bool(one[row] <= its[row])
        shown.append((100 * its[0], 100 * widest[0]))
    medians = np.median(shown, axis=0)
    return Coverage(*held.tolist(), *medians.tolist())


def least_held(samples: int) -> int:
    """Return the smallest number of bounds that hold which the test lets pass."""
    below = 0.0
    for number in range(samples + 1):
        log = (
            math.lgamma(samples + 1)
            - math.lgamma(number + 1)
            - math.lgamma(samples - number + 1)
            + number * math.log(CONFIDENCE)
            + (samples - number) * math.log(1 - CONFIDENCE)
        )
        below += math.exp(log)
        if below >= SIGNIFICANCE:
            return number
    return samples


def main() -> None:
    """Print the table; exit code 1 if a bound holds too seldom."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--sample", type=int, default=500)
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    least = least_held(options.samples)
    print(
        f"{options.samples:,} samples of {options.sample:,} of {options.images:,} images each;"
        f" needed: {least:,} ({100 * least / options.samples:.1f} %)"
    )
    print(
        f"{'flipped':<10}{'':10}{'acc@1':>8}{'blocks':>8}{'acc@1, all':>12}{'blocks, all':>13}"
        f"{'bound':>8}{'all':>7}"
    )
    is_sound = True
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        storage.RunStore.create(root, storage.RunRow("none"), [], {}).close()
        bounds = Bounds(root, options.sample)
        for how in PLANTS:
            for number, rate in enumerate(RATES):
                random = np.random.default_rng([options.seed, number])
                lender, borrower = plant(options.images, rate, how, random)
                found = cover(lender, borrower, bounds, options.samples, options.seed)
                is_sound &= min(found[:4]) >= least
                shares = (f"{100 * held / options.samples:.1f} %" for held in found[:4])
                accuracy, blocks, points, blocks_points = shares
                print(
                    f"{100 * rate:<4g} %    {how:<10}{accuracy:>8}{blocks:>8}{points:>12}"
                    f"{blocks_points:>13}{found.bound:>8.2f}{found.points_bound:>7.2f}",
                    flush=True,
                )
    print("bound: median at one threshold, all: of the widest on the frontier; points of acc@1")
    sys.exit(not is_sound)


if __name__ == "__main__":
    main()
