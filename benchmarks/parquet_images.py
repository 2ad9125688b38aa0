"""Shards of shuffled images from Parquet: the time an image must not grow with the data set.

A shard takes 1,000 images of a fixed shuffle, so some of every row group. `from Parquet` unpacks
what one shard needs; `from the copy` reads them from the local copy that is made while the digest
of the data set is taken. `µs an image` is of the digest, the copy and all shards together, of a
process that has never seen the data set. `open again` has the digest remembered. `held` is the
memory of the process after all shards, beside pages of files that are mapped.

Images are random bytes, since nothing decodes them; data and cache lie in a temporary folder.

    python benchmarks/parquet_images.py [--images 10000 40000 160000] [--bytes 2500]
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

import storage
from jobs.plan.sources import shuffle_images
from jobs.plan.task import cut_shards
from storage.images.digests import SETTLED_NS
from storage.images.parquet import ParquetSource

AIM = 1.5
"""Of the largest data set's time an image over the smallest one's."""

MIB = 2**20


class Measured(NamedTuple):
    """What one data set gave."""

    images: int
    size_bytes: int
    parquet_bytes: int
    parquet_s: float
    open_s: float
    shard_bytes: float
    shard_s: float
    again_s: float
    held_mib: float

    @property
    def image_s(self) -> float:
        """Seconds an image, from the first look at the data set on."""
        return (self.open_s + self.shard_s * len(cut_shards(self.images))) / self.images


def random_images(count: int, size_bytes: int) -> Iterator[storage.EncodedImage]:
    """Images that nothing can compress, of a hundred classes."""
    draw = np.random.default_rng(1)
    for row in range(count):
        yield storage.EncodedImage(draw.bytes(size_bytes), f"{row:07}.bin", row % 100)


def held_mib() -> float:
    """Anonymous memory of this process: what cannot be given back as mapped pages can."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("RssAnon:")[2].split()[0]) / 1024


def opened(path: Path, *, is_shuffled: bool) -> tuple[storage.ImageSet, ParquetSource, float]:
    """A data set, what reads it, and how long it took to open."""
    began_s = time.perf_counter()
    images = storage.open_images(f"parquet:{path}", is_shuffled=is_shuffled)
    took_s = time.perf_counter() - began_s
    assert isinstance(images.source, ParquetSource)  # it is Parquet
    return images, images.source, took_s


def measure(folder: Path, count: int, size_bytes: int) -> Measured:
    """One data set: made, opened as by two processes, and read shard by shard."""
    path = folder / f"{count}.parquet"
    classes = [str(number) for number in range(100)]
    storage.write_images(path, random_images(count, size_bytes), classes)
    order = shuffle_images(count)
    parts = cut_shards(count)

    images, source, _ = opened(path, is_shuffled=False)
    before_bytes, began_s = source.read_bytes, time.perf_counter()
    images.read(order[parts[0].start : parts[0].stop])
    parquet_s = time.perf_counter() - began_s
    parquet_bytes = source.read_bytes - before_bytes

    time.sleep(SETTLED_NS / 1e9 + 0.1)  # else nothing is remembered
    images, source, open_s = opened(path, is_shuffled=True)
    before_bytes, began_s = source.read_bytes, time.perf_counter()
    for part in parts:
        images.read(order[part.start : part.stop])
    shard_s = (time.perf_counter() - began_s) / len(parts)
    shard_bytes = (source.read_bytes - before_bytes) / len(parts)
    again_s = opened(path, is_shuffled=True)[2]
    held = held_mib()
    file_bytes = path.stat().st_size
    path.unlink()
    return Measured(
        count, file_bytes, parquet_bytes, parquet_s, open_s, shard_bytes, shard_s, again_s, held
    )


def main() -> None:
    """Print the table; exit code 1 where the aim is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, nargs="+", default=[10_000, 40_000, 160_000])
    parser.add_argument("--bytes", type=int, default=2500, help="of an image")
    options = parser.parse_args()
    print("                    a shard from Parquet   from the copy     open, s      µs an   held")
    print("images     MiB        MiB        ms        MiB     ms     first  again    image    MiB")
    found = []
    for count in options.images:
        with tempfile.TemporaryDirectory() as folder:
            os.environ["GFJOBS_CACHE"] = f"{folder}/cache"
            found.append(one := measure(Path(folder), count, options.bytes))
        print(
            f"{count:7,}{one.size_bytes / MIB:8.0f}{one.parquet_bytes / MIB:11.1f}"
            f"{one.parquet_s * 1e3:10.1f}{one.shard_bytes / MIB:11.1f}{one.shard_s * 1e3:7.1f}"
            f"{one.open_s:10.2f}{one.again_s:7.2f}{one.image_s * 1e6:9.1f}{one.held_mib:7.0f}",
            flush=True,
        )
    ratio = found[-1].image_s / found[0].image_s
    print(f"the largest over the smallest, an image: {ratio:.2f} (aim {AIM})")
    if ratio > AIM:
        sys.exit(1)


if __name__ == "__main__":
    main()
