"""One image through each runtime and precision, against eager torch with its FFT.

The same untrained weights and image; all take turns, forwards and backwards, on one thread. The
answers are compared first: the largest difference of a logit from eager float32 is printed.

    python benchmarks/runtimes.py [--model gfnet-xs] [--batch 1] [--repeats 15] [--threads 1]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch

import gfnet
from gfnet import runtimes

REFERENCE = ("torch", "float32")


def engines(model: gfnet.GFNet, threads: int) -> dict[tuple[str, str], gfnet.Runtime]:
    """All that can be had here, the reference first."""
    every = {}
    for name in gfnet.RUNTIMES:
        for precision in gfnet.PRECISIONS:
            if reason := runtimes.unavailable(name, precision, "cpu"):
                print(f"skipped: {reason}")
                continue
            every[name, precision] = gfnet.runtime(
                name, model, threads=threads, precision=precision
            )
    return every


def seconds(call: Callable[[], object]) -> float:
    """How long one call takes."""
    began_s = time.perf_counter()
    call()
    return time.perf_counter() - began_s


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="gfnet-xs")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.manual_seed(0)
    model = gfnet.create(options.model)
    images = torch.randn(options.batch, 3, model.config.img_size, model.config.img_size)
    every = engines(model, options.threads)
    times: dict[tuple[str, str], list[float]] = {key: [] for key in every}
    with torch.inference_mode():
        answers = {key: runtime(images) for key, runtime in every.items()}
        order = list(every)
        for _ in range(options.repeats):
            for key in order:
                runtime = every[key]
                times[key].append(seconds(lambda runtime=runtime: runtime(images)))
            order.reverse()
    print(
        f"{options.model}, {model.config.img_size} px, batch {options.batch},"
        f" {options.threads} thread(s), medians of {options.repeats}"
    )
    print(
        f"{'runtime':10}{'precision':11}{'ms':>8}{'min':>8}{'max':>8}{'eager /':>9}{'logits':>10}"
    )
    reference = statistics.median(times[REFERENCE])
    for key, taken in times.items():
        difference = float((answers[key] - answers[REFERENCE]).abs().max())
        middle = statistics.median(taken)
        print(
            f"{key[0]:10}{key[1]:11}{middle * 1e3:8.2f}{min(taken) * 1e3:8.2f}"
            f"{max(taken) * 1e3:8.2f}{reference / middle:9.2f}{difference:10.1e}"
        )


if __name__ == "__main__":
    main()
