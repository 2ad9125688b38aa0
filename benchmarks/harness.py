"""What the harness adds to a forward pass: `forward_ms` as recorded, against a bare timed loop.

Ours is `jobs.worker.timing.measure_routes`, by which every `records.forward_ms` is made. The bare
loop is what one would write by hand: inference mode, garbage collector off, one thread, a clock
around `model(images).cpu()`. A harness decodes an image before it starts its clock, and so leaves
other caches behind than a loop over one tensor. The aim is about the harness: `bare, decoding`
prepares each image as the harness does, before its own clock; `bare, resident` runs the same
tensors, all prepared before. Whatever decoding costs the forward pass is the difference between the
two, and real: a deployed model decodes too.

They take turns of some images each, forwards and backwards; the first images of a turn, which find
the caches as another loop left them, are dropped from all alike. Ratios are of medians; their 95 %
intervals by bootstrap over rounds, then images.

    python benchmarks/harness.py [--models gfnet-xs cifar10-gfnet] [--runtime torch]
                                 [--rounds 40] [--images 12]
"""

from __future__ import annotations

import argparse
import gc
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch

import gfnet
import storage
from jobs.machine.devices import use_device
from jobs.statistics.bootstrap import Numbers, estimates
from jobs.worker.input_pipeline import Pipeline
from jobs.worker.timing import TimedShard, measure_routes

AIM = 0.01
DROPPED = 3
"""Images at the start of a turn."""

HARNESS, DECODING, RESIDENT = "harness", "bare, decoding", "bare, resident"
Loop = Callable[[Sequence[bytes]], list[float]]
"""Times each image of a turn, in ms."""


def load(name: str) -> gfnet.GFNet:
    """A bundled checkpoint, or a variant with fresh weights for images of 10 classes."""
    if name in gfnet.bundled():
        return gfnet.load_checkpoint(gfnet.bundled()[name])
    torch.manual_seed(0)
    return gfnet.create(name, num_classes=10)


def loops(runtime: gfnet.Runtime, pipeline: Pipeline) -> dict[str, Loop]:
    """The three that are compared."""

    def harness(encoded: Sequence[bytes]) -> list[float]:
        return measure_routes(runtime, TimedShard(pipeline, encoded, 1), ()).forward_ms

    def prepared(encoded: Sequence[bytes], place: int) -> torch.Tensor:
        tensor, _ = pipeline.batch(encoded, [place])
        assert tensor is not None  # digits decode
        return tensor

    def timed(images: torch.Tensor) -> float:
        begin = time.perf_counter()
        runtime(images).cpu()
        return (time.perf_counter() - begin) * 1e3

    def decoding(encoded: Sequence[bytes]) -> list[float]:
        gc.collect()
        gc.disable()
        taken = [timed(prepared(encoded, place)) for place in range(len(encoded))]
        gc.enable()
        return taken

    def resident(encoded: Sequence[bytes]) -> list[float]:
        tensors = [prepared(encoded, place) for place in range(len(encoded))]
        gc.collect()
        gc.disable()
        taken = [timed(tensor) for tensor in tensors]
        gc.enable()
        return taken

    return {HARNESS: harness, DECODING: decoding, RESIDENT: resident}


def measure(name: str, runtime_name: str, rounds: int, images: int) -> dict[str, np.ndarray]:
    """(rounds, images) ms of each loop."""
    model = load(name)
    runtime = gfnet.runtime(runtime_name, model, threads=1)
    every = loops(runtime, Pipeline(model.metadata.preprocessing, use_device("cpu")))
    digits = storage.open_images("digits")
    encoded = digits.read(range(images + DROPPED))["image"].to_pylist()
    taken: dict[str, list[list[float]]] = {loop: [] for loop in every}
    order = list(every)
    with torch.inference_mode():
        for loop in order:
            every[loop](encoded)
        for _ in range(rounds):
            for loop in order:
                taken[loop].append(every[loop](encoded)[DROPPED:])
            order.reverse()
    return {loop: np.array(times) for loop, times in taken.items()}


def median(sorted_ms: Numbers, counts: Numbers) -> float:
    """The median of ascending values, of which each counts so many times."""
    below = np.cumsum(counts)
    return float(sorted_ms[np.searchsorted(below, below[-1] / 2)])


def table(name: str, taken: dict[str, np.ndarray]) -> str:
    """Medians, quartiles, and what ours is of each bare loop, with its interval."""
    rounds, images = taken[HARNESS].shape
    orders = {loop: np.argsort(times.ravel()) for loop, times in taken.items()}

    def ratios(counts: Numbers) -> Numbers:
        middle = {
            loop: median(taken[loop].ravel()[order], counts[order])
            for loop, order in orders.items()
        }
        return np.array([middle[HARNESS] / middle[loop] - 1 for loop in (DECODING, RESIDENT)])

    added = dict(zip((DECODING, RESIDENT), estimates(ratios, [images] * rounds), strict=True))
    lines = []
    for loop, times in taken.items():
        low, middle, high = np.percentile(times, (25, 50, 75))
        line = f"{name:15}{loop:15}{middle:8.3f}{low:8.3f}{high:8.3f}"
        if loop in added:
            value, least, most = added[loop]
            line += f"{value:9.2%}{least:9.2%}{most:8.2%}"
        lines.append(line)
    return "\n".join(lines)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    known = [*gfnet.bundled(), *gfnet.VARIANTS]
    parser.add_argument("--models", nargs="+", choices=known, default=["gfnet-xs", "cifar10-gfnet"])
    parser.add_argument("--runtime", choices=gfnet.RUNTIMES, default="torch")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--images", type=int, default=12)
    options = parser.parse_args()
    print(
        f"forward ms, batch 1, one thread, {options.runtime}: {options.rounds} rounds of"
        f" {options.images} images each"
    )
    print(f"{'model':15}{'loop':15}{'median':>8}{'25 %':>8}{'75 %':>8}  harness adds, 95 %")
    for name in options.models:
        taken = measure(name, options.runtime, options.rounds, options.images)
        print(table(name, taken), flush=True)
    print(f"aim: the harness adds at most {AIM:.0%} to {DECODING}")


if __name__ == "__main__":
    main()
