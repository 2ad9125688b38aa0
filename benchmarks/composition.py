"""Latency mixed from forced exits, against latency as routed, with both measured side by side.

Whether mixing is right at all must not depend on how a machine drifts meanwhile. A run's cells take
turns of seconds; here it is images: some are routed at each threshold, forced out at every exit
twice, and routed again in turned order, by the same `jobs.worker.timing` that makes each row of
`records` and `exit_costs`. In such a unit the mean of the forced exits, by who left where, stands
against the mean as routed. The first images of a turn find the caches as another left them, and are
dropped.

The error is that of all units together; its 95 % interval by bootstrap over units.

    python benchmarks/composition.py [--model digits-dynn] [--dataset digits] [--runtime torch]
                                     [--thresholds 0.3 0.5 0.7 0.8 0.9] [--units 40] [--images 50]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

import gfnet
from jobs.grid.downloads import open_or_download
from jobs.machine.devices import use_device
from jobs.plan.sources import shuffle_images
from jobs.statistics.bootstrap import Numbers, estimates
from jobs.worker.cpu_pinning import pin_threads
from jobs.worker.exit_costs import measure_exits
from jobs.worker.input_pipeline import Pipeline
from jobs.worker.timing import TimedShard, measure_routes

Places = NDArray[np.intp]

AIM = 0.02
DROPPED = 5
"""Images at the start of a turn."""


class Bench:
    """A model on an engine, and the two ways to measure it."""

    def __init__(self, model: gfnet.GFNet, runtime: str) -> None:
        self._pipeline = Pipeline(model.metadata.preprocessing, use_device("cpu"))
        self._runtime = gfnet.runtime(runtime, model, threads=1)
        self._blocks = [*model.config.exit_blocks, model.config.last_block]

    def routed(
        self, encoded: Sequence[bytes], threshold: float
    ) -> tuple[Numbers, NDArray[np.intp]]:
        """Ms of each image, and the number of the exit where it left."""
        measured = measure_routes(
            self._runtime,
            TimedShard(self._pipeline, encoded, 1),
            [threshold] * (len(self._blocks) - 1),
        )
        exits = np.searchsorted(self._blocks, measured.exit_blocks)
        return np.array(measured.forward_ms)[DROPPED:], exits[DROPPED:]

    def forced(self, encoded: Sequence[bytes]) -> Numbers:
        """(images, E) ms of each image at each exit."""
        measured = measure_exits(
            self._runtime, TimedShard(self._pipeline, encoded, 1), len(self._blocks) - 1
        )
        by_exit = np.argsort(measured.exits, kind="stable")
        ms = np.array(measured.forward_ms)[by_exit].reshape(len(self._blocks), -1)
        return ms[:, DROPPED:].T


def unit(
    bench: Bench, encoded: Sequence[bytes], thresholds: Sequence[float]
) -> tuple[list[float], list[float]]:
    """Mean ms as routed and as composed, of each threshold."""
    there = [bench.routed(encoded, threshold) for threshold in thresholds]
    costs = (bench.forced(encoded).mean(axis=0) + bench.forced(encoded).mean(axis=0)) / 2
    back = [bench.routed(encoded, threshold) for threshold in reversed(thresholds)][::-1]
    routed = [float((a.mean() + b.mean()) / 2) for (a, _), (b, _) in zip(there, back, strict=True)]
    return routed, [float(costs[exits].mean()) for _, exits in there]


def table(thresholds: Sequence[float], routed: Numbers, composed: Numbers) -> tuple[str, bool]:
    """A line for each threshold, and whether all are within the aim.

    Args:
        thresholds: T of them.
        routed: (units, T) ms.
        composed: as `routed`.
    """
    lines = [f"{'t':>6}{'routed ms':>11}{'composed ms':>13}{'error':>9}{'95 %':>18}"]
    are_within = True
    for column, threshold in enumerate(thresholds):
        pair = routed[:, column], composed[:, column]

        def error(counts: Numbers, pair: tuple[Numbers, Numbers] = pair) -> Numbers:
            return np.array([counts @ pair[1] / (counts @ pair[0]) - 1])

        (found,) = estimates(error, [1] * len(routed))
        are_within &= abs(found.value) <= AIM
        lines.append(
            f"{threshold:6g}{pair[0].mean():11.3f}{pair[1].mean():13.3f}{found.value:9.2%}"
            f"{found.low:9.2%}{found.high:9.2%}"
        )
    return "\n".join(lines), are_within


def main() -> None:
    """Print the table; exit code 1 where an error is larger than the aim."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="digits-dynn")
    parser.add_argument("--dataset", default="digits")
    parser.add_argument("--runtime", choices=gfnet.RUNTIMES, default="torch")
    parser.add_argument("--thresholds", type=float, nargs="+", default=[0.3, 0.5, 0.7, 0.8, 0.9])
    parser.add_argument("--units", type=int, default=40)
    parser.add_argument("--images", type=int, default=50)
    options = parser.parse_args()
    model = gfnet.load_checkpoint(gfnet.bundled()[options.model])
    bench = Bench(model, options.runtime)
    images = open_or_download(options.dataset)
    order = shuffle_images(len(images))
    taken = []
    with torch.inference_mode(), pin_threads(1):
        for number in range(-1, options.units):  # one more, to warm up
            places = [(number * options.images + i) % len(order) for i in range(options.images)]
            encoded = images.read([order[place] for place in places])["image"].to_pylist()
            taken.append(unit(bench, encoded, options.thresholds))
    routed, composed = np.array(taken[1:]).transpose(1, 0, 2)
    print(
        f"{options.model}, {options.dataset}, {options.runtime}, batch 1, one thread:"
        f" {options.units} units of {options.images} images"
    )
    lines, are_within = table(options.thresholds, routed, composed)
    print(lines)
    print(f"aim: no error above {AIM:.0%}")
    sys.exit(not are_within)


if __name__ == "__main__":
    main()
