"""What makes a forward pass slower after a pause: a pass after each of several things, in turn.

Serving meets pauses, exit costs do not. Each thing is done after three passes, and the pass behind
it is timed in processor time; of each thing the median, the 10th percentile, and the ratio of that
to a pass without anything before: the quickest tenth is little disturbed by what else runs, so the
ratio holds on a busy machine too. *Hashing* has all it needs in the smallest caches: it tells
whether the clock fell. A model with gates is run to its last exit, and to its first.

    python benchmarks/pauses.py [--models digits-gfnet digits-dynn] [--turns 60] [--pause-ms 30]
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import math
import random
import time
from collections.abc import Callable, Mapping
from io import BytesIO

import numpy as np
import torch
from PIL import Image

import gfnet

EVICTED_MIB = 64
"""More than processors have of the last cache for two cores."""

_LINE_BYTES = 64
_NS_PER_MS = 1e6


def spin(ms: float) -> None:
    """Watch the clock."""
    end = time.perf_counter_ns() + ms * _NS_PER_MS
    while time.perf_counter_ns() < end:
        pass


def hash_often() -> None:
    """Work for about half a millisecond on 4 KiB."""
    for _ in range(150):
        hashlib.sha256(b"x" * 4096).digest()


def took_ms(work: Callable[[], object]) -> float:
    """The processor time that something takes."""
    begin = time.thread_time_ns()
    work()
    return (time.thread_time_ns() - begin) / _NS_PER_MS


def things_before(
    model: gfnet.GFNet, run: Callable[[], None], pause_ms: float
) -> Mapping[str, Callable[[], None]]:
    """What is done before a pass, by its name."""
    preprocessing = model.metadata.preprocessing
    transform = gfnet.transform(preprocessing)
    content = BytesIO()
    size = model.config.img_size
    Image.fromarray(np.zeros((size, size, 3), np.uint8)).save(content, "png")
    others = np.zeros(EVICTED_MIB << 20, np.uint8)

    def do(*things: Callable[[], None]) -> Callable[[], None]:
        def all_of_them() -> None:
            for each in things:
                each()

        return all_of_them

    def sleep() -> None:
        time.sleep(pause_ms / 1e3)

    def decode() -> None:
        transform(gfnet.decode(content.getvalue()))

    def evict() -> None:
        others[::_LINE_BYTES] += 1

    return {
        "nothing": do(),
        "decoding an image": decode,
        "sleeping": sleep,
        "spinning instead": do(lambda: spin(pause_ms)),
        "sleeping, spinning 20 ms": do(sleep, lambda: spin(20)),
        "sleeping, decoding": do(sleep, decode),
        "sleeping, a pass": do(sleep, run),
        f"using {EVICTED_MIB} MiB": evict,
        f"using {EVICTED_MIB} MiB, a pass": do(evict, run),
    }


def measure(model: gfnet.GFNet, threshold: float, turns: int, pause_ms: float) -> str:
    """The table of a model at one threshold for all gates."""
    size, gates = model.config.img_size, len(model.config.exit_blocks)
    images = torch.randn(1, 3, size, size)

    def run() -> None:
        model.route(images, (threshold,) * gates).logits.cpu()

    before = things_before(model, run, pause_ms)
    passes: dict[str, list[float]] = {each: [] for each in before}
    hashes: dict[str, list[float]] = {each: [] for each in before}
    order = [*before]
    for _ in range(turns):
        random.shuffle(order)
        for taken, work in ((passes, run), (hashes, hash_often)):
            for each in order:
                for _ in range(3):
                    work()
                before[each]()
                taken[each].append(took_ms(work))
    lines = []
    for each in before:
        middle, low = np.percentile(passes[each], [50, 10])
        ratios = [
            np.percentile(of[each], 10) / np.percentile(of["nothing"], 10)
            for of in (passes, hashes)
        ]
        lines.append(f"{each:28}{middle:>10.3f}{low:>8.3f}{ratios[0]:>8.2f}{ratios[1]:>17.2f}")
    return "\n".join(lines)


def main() -> None:
    """Print a table per model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=["digits-gfnet", "digits-dynn"])
    parser.add_argument("--turns", type=int, default=60)
    parser.add_argument("--pause-ms", type=float, default=30.0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    gc.disable()
    for name in options.models:
        model = gfnet.load_checkpoint(gfnet.bundled()[name])
        for exit_name, threshold in (("last", math.inf), ("first", -math.inf)):
            if exit_name == "last" or model.config.exit_blocks:
                print(
                    f"{f'{name}, {exit_name} exit':28}  pass, ms     p10   ratio   hashing, ratio"
                )
                with torch.inference_mode():
                    print(measure(model, threshold, options.turns, options.pause_ms))


if __name__ == "__main__":
    main()
