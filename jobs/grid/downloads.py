"""Opens data sets by name; one that torchvision knows and this machine lacks is downloaded once.

torchvision's CIFAR reader unpickles, and a pickle can run code. It is the one exception in this
project: it reads only files whose MD5 torchvision has checked, once, and only Parquet is kept of
them.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import tempfile
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING

import storage

if TYPE_CHECKING:
    from torchvision.datasets import CIFAR10

SPLITS = ("train", "test")
_SIZES = {"cifar10": "163 MiB", "cifar100": "162 MiB"}
_LOG = logging.getLogger(__name__)


def open_or_download(
    name: str,
    split: str = "test",
    base: Path | None = None,
    failed: dict[str, storage.DatasetError] | None = None,
    *,
    is_shuffled: bool = False,
    image: str | None = None,
    label: str | None = None,
    may_download: bool = True,
) -> storage.ImageSet:
    """Open a data set as `storage.open_images` does, after downloading it if it is not here.

    Args:
        name: of the data set.
        split: of the data set.
        base: the folder that relative paths start from.
        failed: by name, downloads that are not tried again; one that fails is added.
        is_shuffled: as there.
        image: as there.
        label: as there.
        may_download: whether it is downloaded at all.

    Raises:
        DatasetError: as `storage.open_images`; or it cannot be downloaded or stored.
    """
    is_missing = name in storage.DOWNLOADABLE and not storage.named_file(name, split)
    if is_missing and split in SPLITS:
        failed = {} if failed is None else failed
        if not may_download:
            raise storage.DatasetError(
                f"data set {name} is not on this machine, and would be downloaded"
                f" ({_SIZES[name]} to {storage.cache_folder()}): plan with --download, or submit"
            )
        if name in failed:
            raise failed[name]
        try:
            _download(name, storage.cache_folder())
        except storage.DatasetError as err:
            failed[name] = err
            raise
    return storage.open_images(name, split, base, is_shuffled=is_shuffled, image=image, label=label)


def _download(name: str, cache: Path) -> None:
    """Download a data set's archive, and keep only its splits, as Parquet."""
    # Imported only here: planning with images that are present needs no torch.
    from torchvision.datasets import CIFAR10, CIFAR100

    source = {"cifar10": CIFAR10, "cifar100": CIFAR100}[name]
    _LOG.warning("%s is not on this machine: downloading it to %s, once", name, cache / name)
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".tmp-", dir=cache) as folder:
            for split in SPLITS:
                with contextlib.redirect_stdout(sys.stderr):  # older torchvision prints there
                    images = source(folder, train=split == "train", download=True)
                file = cache / name / f"{split}.parquet"
                storage.write_images(file, encoded(images, split), images.classes)
    # Network errors are OSErrors, or HTTPExceptions; a wrong MD5 is a RuntimeError.
    except (OSError, HTTPException, RuntimeError) as err:
        raise storage.DatasetError(
            f"data set {name} is not on this machine, and downloading it to {cache} failed: {err};"
            f" set {storage.DATA_VARIABLE} to a folder that holds {name}/test.parquet and"
            f" {name}/train.parquet, or use parquet:PATH"
        ) from err


def encoded(images: CIFAR10, split: str) -> Iterator[storage.EncodedImage]:
    """Yield the images of torchvision's data set, in its order, as portable pixmaps (PPM).

    A pixmap holds the pixels as they are, so that its bytes, and with them the data set's digest,
    are the same on every machine; the bytes of a PNG depend on its encoder.
    """
    for row, (pixels, label) in enumerate(zip(images.data, images.targets, strict=True)):
        height, width, _ = pixels.shape
        content = b"P6\n%d %d\n255\n" % (width, height) + pixels.tobytes()
        path = f"{split}/{images.classes[label]}/{row:05d}.ppm"
        yield storage.EncodedImage(content, path, int(label))
