"""How much of the time that early exit could save it does save, at the reference exit mix.

The model that one has without early exit is the rival: the same blocks in one piece, no exit
computed, `runtime(images)`. All figures are of means, since the mean is what a mixture of exits
costs, and are given in blocks, since absolute times drift:

- time per block = (full depth - a model of one block) / (depth - 1): measured in the same run, in
  the same runtime, so that patch embedding, last head and the call itself are in neither;
- ideal saving = blocks that the routed images did not run x time per block;
- share realised = (full depth - routed) / ideal saving. Routed images paid for each exit that they
  reached: norm, heads, gate, decision, change of stage;
- an exit's extra = (past every exit to the last block - full depth) / exits / time per block.

Weights are random, and so are the images: no decision of theirs would give a chosen mix. At batch 1
each image has thresholds of +inf before its exit and -inf at it: so the mix is exact, in random
order image by image, while every gate on the way is computed and its decision copied to the host
as with any threshold. In a batch all share a vector of thresholds: there each lies halfway between
two gate scores that the same runtime gave for the same batch, so that as many leave at each exit as
should; who leaves is up to the scores. Scores as close as those of random weights may change places
where they are computed for fewer images, or be equal in half precision: the ideal is of the blocks
that were really left out, and their mean is printed. Times depend on the exits alone and not on
what is in an image.

Full depth, one block, routed and past every exit take turns of some calls each, forwards and
backwards. The first calls of a turn find other weights in the caches than a deployed model would,
and are not counted. 95 % intervals are by bootstrap over rounds, then over calls
(`jobs.statistics.bootstrap`), all four of a place together.

Where other processes run, `--clock processor` counts this process's time on a processor instead of
the time that passes: all of a call runs in one thread. Caches are still shared with the others.

    python benchmarks/early_exit.py [--runtimes torch onnx openvino] [--precision float32]
                                    [--batches 1 64] [--rounds 15] [--img-size 224]
                                    [--clock wall]
"""

from __future__ import annotations

import argparse
import gc
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

import gfnet
from gfnet.runtimes import availability
from jobs.statistics.bootstrap import IntervalEstimate, Numbers, estimates
from jobs.worker.timing import forced_exits

MIX = (2396, 4217, 1666, 1721)  # of 10,000 images, leaving after blocks 7, 9, 10 and 11
AIM_SHARE = {True: 0.95, False: 0.90}  # of one image; of a batch
AIM_EXTRA = 0.05
CALLS = {
    True: 5,
    False: 1,
}  # a turn, after WARM: short, lest a clock that steps finds one of the four
WARM = {True: 2, False: 0}
ROUNDS = {True: 6, False: 1}  # times those asked for: a turn of single images takes less
POOL = 4  # batches of images
CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}

Call = Callable[[int, torch.Tensor], int]
"""Runs call number i on a batch; gives the blocks that its images left out, together."""


class Case(NamedTuple):
    """One runtime at one batch size: times in ms by kind of call, and blocks left out.

    Attributes:
        full, one_block, routed, past: (rounds, calls) ms.
        left_out: (rounds, calls) blocks that the routed images of a call did not run.
    """

    full: Numbers
    one_block: Numbers
    routed: Numbers
    past: Numbers
    left_out: Numbers


def apportioned(count: int, shares: Sequence[int]) -> list[int]:
    """Whole numbers in the proportion of the shares, that sum to `count`: largest remainders."""
    exact = [count * share / sum(shares) for share in shares]
    whole = [int(each) for each in exact]
    behind = sorted(range(len(shares)), key=lambda i: whole[i] - exact[i])
    for i in behind[: count - sum(whole)]:
        whole[i] += 1
    return whole


def thresholds_between(scores: NDArray[np.float32], leaving: Sequence[int]) -> list[float]:
    """Thresholds with which so many images of a batch leave at each gate, if scores stay the same.

    Args:
        scores: (gates, B) of one batch.
        leaving: how many are to leave at each gate, and at last at the last block.
    """
    left = np.ones(scores.shape[1], dtype=bool)
    thresholds = []
    for gate, count in zip(scores, leaving, strict=False):
        ranked = np.sort(gate[left])[::-1].astype(np.float64)
        edges = np.array([math.inf, *ranked, -math.inf])
        limit = (edges[count] + edges[count + 1]) / 2
        thresholds.append(limit)
        left &= ~(gate >= np.float32(limit))
    return thresholds


def shallow(config: gfnet.ModelConfig) -> gfnet.GFNet:
    """The same embedding, one of the blocks, the same last head."""
    sizes = replace(config, family="gfnet-distil", depth=1, exit_blocks=())
    fields = {name: getattr(sizes, name) for name in sizes.__dataclass_fields__}
    return gfnet.create(fields.pop("family"), **fields)


class Routed:
    """Routes call after call at the reference mix.

    Args:
        runtime: of the early-exit model.
        config: its sizes.
        pool: batches of images, taken in turn.
        calls: how many there will be.
    """

    def __init__(
        self,
        runtime: gfnet.Runtime,
        config: gfnet.ModelConfig,
        pool: Sequence[torch.Tensor],
        calls: int,
    ) -> None:
        self._runtime = runtime
        self._last = config.last_block
        gates = len(config.exit_blocks)
        if len(pool[0]) == 1:
            exits = np.repeat(np.arange(gates + 1), apportioned(calls, MIX))
            forced = forced_exits(gates)
            self._thresholds = [forced[i] for i in np.random.default_rng(0).permutation(exits)]
        else:
            leaving = apportioned(len(pool[0]), MIX)
            self._thresholds = [
                tuple(thresholds_between(runtime.forward_exits(batch).gate_scores.numpy(), leaving))
                for batch in pool
            ]

    def __call__(self, number: int, images: torch.Tensor) -> int:
        """Route one call's images."""
        thresholds = self._thresholds[number % len(self._thresholds)]
        routed = self._runtime.route(images, thresholds)
        routed.logits.cpu()
        return int((self._last - routed.exit_block).sum())


def calls_of(
    name: str, precision: str, model: gfnet.GFNet, pool: Sequence[torch.Tensor], calls: int
) -> list[Call]:
    """The four that take turns, in the order of `Case`."""
    runtime, one_block = (
        gfnet.runtime(name, each, threads=1, precision=precision)
        for each in (model, shallow(model.config))
    )
    stay = forced_exits(len(model.config.exit_blocks))[-1]

    def at_full_depth(engine: gfnet.Runtime) -> Call:
        def call(_number: int, images: torch.Tensor) -> int:
            engine(images).cpu()
            return 0

        return call

    def past_every_exit(_number: int, images: torch.Tensor) -> int:
        runtime.route(images, stay).logits.cpu()
        return 0

    return [
        at_full_depth(runtime),
        at_full_depth(one_block),
        Routed(runtime, model.config, pool, calls),
        past_every_exit,
    ]


def measure(
    every: Sequence[Call],
    pool: Sequence[torch.Tensor],
    rounds: int,
    clock: Callable[[], float] = time.perf_counter,
) -> Case:
    """Let them take turns."""
    warm, calls = (of[len(pool[0]) == 1] for of in (WARM, CALLS))
    taken = np.zeros((len(every), rounds, calls))
    left_out = np.zeros((len(every), rounds, calls))
    order = list(range(len(every)))
    gc.collect()
    gc.disable()
    for turn in range(rounds):
        for which in order:
            for place in range(-warm, calls):
                # A turn's warming calls are its last ones, run once more.
                number = turn * calls + place % calls
                images = pool[number % len(pool)].clone()  # written just now, as by a decoder
                begin = clock()
                blocks = every[which](number, images)
                elapsed_ms = (clock() - begin) * 1e3
                if place >= 0:
                    taken[which, turn, place] = elapsed_ms
                    left_out[which, turn, place] = blocks
        order.reverse()
    gc.enable()
    full, one_block, routed, past = taken
    return Case(full, one_block, routed, past, left_out[2])


def figures_of(case: Case, batch: int, depth: int, exits: int) -> list[IntervalEstimate]:
    """Ms a block and image, share of the ideal saving realised, an exit's extra in blocks."""
    full, one_block, routed, past, left_out = (part.ravel() for part in case)

    def figures(counts: Numbers) -> Numbers:
        calls = counts.sum()
        block_ms = counts @ (full - one_block) / (depth - 1) / calls / batch
        saved_ms = counts @ (full - routed)
        extra_ms = counts @ (past - full) / exits / calls / batch
        return np.array(
            [block_ms, saved_ms / (block_ms * (counts @ left_out)), extra_ms / block_ms]
        )

    rounds, calls = case.full.shape
    return estimates(figures, [calls] * rounds)


def table(title: str, case: Case, batch: int, depth: int, exits: int) -> str:
    """Medians with their spread, and the figures beside their aims."""
    is_one = batch == 1
    mean_blocks = depth - case.left_out.mean() / batch
    lines = [
        f"{title}, batch {batch}: {mean_blocks:.2f} of {depth} blocks",
        f"{'ms an image':28}{'median':>9}{'25 %':>9}{'75 %':>9}",
    ]
    names = ("full depth", "one block", "routed", "past every exit")
    for name, times in zip(names, case, strict=False):
        low, middle, high = np.percentile(times / batch, (25, 50, 75))
        lines.append(f"{name:28}{middle:9.3f}{low:9.3f}{high:9.3f}")
    block, share, extra = figures_of(case, batch, depth, exits)
    lines.append(f"{'of means':28}{'':9}{'95 %':>18}   aim")
    rows = (
        ("ms a block", block, ""),
        ("saving realised / ideal", share, f">= {AIM_SHARE[is_one]:.2f}"),
        ("an exit's extra / a block", extra, f"<= {AIM_EXTRA:.2f}" if is_one else ""),
    )
    for name, it, aim in rows:
        lines.append(f"{name:28}{it.value:9.3f}{it.low:9.3f}{it.high:9.3f}   {aim}".rstrip())
    return "\n".join(lines)


def main() -> None:
    """Print a table for each runtime and batch size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runtimes", nargs="+", choices=gfnet.RUNTIMES, default=gfnet.RUNTIMES)
    parser.add_argument(
        "--precision", choices=("float32", "bfloat16", "float16"), default="float32"
    )
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 64])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--img-size", type=int, default=224)
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    options = parser.parse_args()
    torch.manual_seed(0)
    model = gfnet.create("gfnet-xs-distil-dynn", num_classes=10, img_size=options.img_size)
    depth, exits = model.config.depth, len(model.config.exit_blocks)
    print(f"gfnet-xs-distil-dynn, {options.img_size} px, one thread, exits after blocks 7, 9, 10")
    for name in options.runtimes:
        if reason := availability.unavailable(name, options.precision, "cpu"):
            print(f"\nskipped: {reason}")
            continue
        for batch in options.batches:
            is_one = batch == 1
            pool = [torch.randn(batch, 3, options.img_size, options.img_size) for _ in range(POOL)]
            with torch.inference_mode():
                rounds = options.rounds * ROUNDS[is_one]
                calls = rounds * CALLS[is_one]
                every = calls_of(name, options.precision, model, pool, calls)
                for call in every:
                    call(0, pool[0])
                case = measure(every, pool, rounds, CLOCKS[options.clock])
            title = f"{name} {options.precision}"
            print(f"\n{table(title, case, batch, depth, exits)}", flush=True)


if __name__ == "__main__":
    main()
