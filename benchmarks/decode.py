"""Decoding and preprocessing: the worker's pipeline against a bare torchvision loop.

Both turn the same encoded bytes into the same batches of normalised tensors; the pipeline is that
of passes without a clock. First in one process, on one processor; then in as many processes as
there are processors, side by side, as Ray runs a worker for each. Both run in turn, several times,
in processes that have started; medians are compared, each pair's ratio is ours over the other.

    python benchmarks/decode.py [--images 2000] [--repeats 5]

Digits are always there; cifar10 and ucm are measured where GFJOBS_DATA or the cache holds them.
"""

from __future__ import annotations

import argparse
import io
import os
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import NamedTuple

import torch
from PIL import Image
from torchvision.transforms import InterpolationMode, v2

import gfnet
import storage
from jobs.machine.devices import use_device
from jobs.worker.input_pipeline import Pipeline

BATCH = 64
SIZES = {"digits": (16, 16), "cifar10": (32, 32), "ucm": (256, 256)}


class Case(NamedTuple):
    """Encoded images, and how they are to be prepared."""

    name: str
    encoded: list[bytes]
    preprocessing: gfnet.Preprocessing


def cases(images: int) -> list[Case]:
    """The data sets that are on this machine, their images repeated up to a number."""
    found = []
    for name, (size, crop) in SIZES.items():
        if name != "digits" and not storage.named_file(name, "test"):
            continue
        every = storage.open_images(name)
        encoded = every.read(range(min(images, len(every))))["image"].to_pylist()
        repeated = (encoded * (images // len(encoded) + 1))[:images]
        found.append(Case(name, repeated, gfnet.Preprocessing(size, crop)))
    return found


def ours(case: Case) -> float:
    """Images a second of the worker's pipeline."""
    torch.set_num_threads(1)
    pipeline = Pipeline(case.preprocessing, use_device("cpu"))
    began_s = time.perf_counter()
    for start in range(0, len(case.encoded), BATCH):
        stop = min(start + BATCH, len(case.encoded))
        pipeline.bulk(case.encoded, range(start, stop))
    return len(case.encoded) / (time.perf_counter() - began_s)


def bare(case: Case) -> float:
    """Images a second of a loop over what a script does: open, convert, transform."""
    torch.set_num_threads(1)
    chosen = case.preprocessing
    transform = v2.Compose(
        [
            v2.Resize(chosen.size, InterpolationMode(chosen.interpolation)),
            v2.CenterCrop(chosen.crop),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(list(chosen.mean), list(chosen.std)),
        ]
    )
    began_s = time.perf_counter()
    for start in range(0, len(case.encoded), BATCH):
        batch = case.encoded[start : start + BATCH]
        torch.stack([transform(Image.open(io.BytesIO(data)).convert("RGB")) for data in batch])
    return len(case.encoded) / (time.perf_counter() - began_s)


def side_by_side(
    measure: Callable[[Case], float], case: Case, pool: ProcessPoolExecutor, workers: int
) -> float:
    """Images a second of as many processes as there are processors, together."""
    parts = [case._replace(encoded=case.encoded[number::workers]) for number in range(workers)]
    began_s = time.perf_counter()
    list(pool.map(measure, parts))
    return len(case.encoded) / (time.perf_counter() - began_s)


def row(name: str, ours_of: Callable[[], float], theirs_of: Callable[[], float], n: int) -> str:
    """Both in turn: medians, and the ratio with its spread."""
    ours_of(), theirs_of()  # imports, caches, workers
    pairs = [(ours_of(), theirs_of()) for _ in range(n)]
    ratios = [left / right for left, right in pairs]
    left, right = (statistics.median(side) for side in zip(*pairs, strict=True))
    spread = f"{min(ratios):.2f}-{max(ratios):.2f}"
    return f"{name:24}{left:12,.0f}{right:14,.0f}{statistics.median(ratios):8.2f}  {spread}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    workers = os.cpu_count() or 1
    print(f"images/s; {options.images} images, batches of {BATCH}, {workers} processors")
    print(f"{'':24}{'gfjobs':>12}{'torchvision':>14}{'ratio':>8}  spread")
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for case in cases(options.images):
            alone = (lambda c=case: ours(c)), (lambda c=case: bare(c))
            print(row(f"{case.name}, 1 process", *alone, options.repeats))
            together = (
                (lambda c=case: side_by_side(ours, c, pool, workers)),
                (lambda c=case: side_by_side(bare, c, pool, workers)),
            )
            print(row(f"{case.name}, {workers} processes", *together, options.repeats))


if __name__ == "__main__":
    main()
