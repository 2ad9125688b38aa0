"""Reads the bytes of a plan's tasks: checkpoints or bundles, and shards of images in one order."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

import gfnet
import storage
from jobs.common.errors import JobsError
from jobs.plan.plan import Plan
from jobs.plan.task import Task

SHUFFLE_SEED = 0
"""Images are shuffled by default_rng(0): in the same order for every model, in every run."""


class SourceError(JobsError):
    """A checkpoint or an image that was readable when the run was planned cannot be read now."""


@dataclass(frozen=True)
class Sources:
    """Reads the checkpoints and images of a plan.

    Attributes:
        checkpoints: path by sha256; of a bundle by its digest.
        images: image set by sha256.
    """

    checkpoints: Mapping[str, Path]
    images: Mapping[str, storage.ImageSet]

    @classmethod
    def of(cls, plan: Plan) -> Sources:
        """The sources of all cells of a plan."""
        return cls(
            {model.sha256: model.path for model in plan.grid.models},
            {images.sha256: images for images in _image_sets(plan)},
        )

    def weights(self, task: Task) -> bytes:
        """The bytes of a task's checkpoint file, or of its bundle as a zip.

        Raises:
            SourceError: the file cannot be read, or has changed since the run was planned.
        """
        path = self.checkpoints[task.checkpoint_sha256]
        if task.graph_precision is not None:
            return _read_bundle(path, task.checkpoint_sha256)
        try:
            data = path.read_bytes()
        except OSError as err:
            raise SourceError(f"checkpoint {path} cannot be read: {err.strerror}") from err
        if hashlib.sha256(data).hexdigest() != task.checkpoint_sha256:
            raise SourceError(f"checkpoint {path} has changed since the run was planned")
        return data

    def shard(self, task: Task) -> Any:
        """The encoded images of a task, in the order of the fixed shuffle, as an Arrow table.

        Raises:
            SourceError: an image cannot be read.
        """
        images = self.images[task.dataset_sha256]
        return _read(images, shuffle_images(len(images))[task.shard.start : task.shard.stop])

    def calibration(self, task: Task) -> Any:
        """The encoded images from which a task's graphs are made, as an Arrow table.

        Raises:
            SourceError: an image cannot be read.
        """
        assert task.calibration_sha256 is not None
        images = self.images[task.calibration_sha256]
        return _read(images, shuffle_images(len(images))[: task.calibration_images])


def _read(images: storage.ImageSet, image_ids: Sequence[int]) -> Any:
    try:
        return images.read(image_ids)
    except storage.DatasetError as err:
        raise SourceError(str(err)) from err


def _image_sets(plan: Plan) -> Iterator[storage.ImageSet]:
    yield from (dataset.images for dataset in plan.grid.datasets)
    if plan.grid.calibration:
        yield plan.grid.calibration.images


def _read_bundle(path: Path, digest: str) -> bytes:
    try:
        bundle = gfnet.inspect_bundle(path)
    except gfnet.BundleError as err:
        raise SourceError(str(err)) from err
    if bundle.digest != digest:
        raise SourceError(f"bundle {path} has changed since the run was planned")
    return bundle.packed()


@lru_cache(maxsize=16)
def shuffle_images(count: int) -> list[int]:
    """Image ids in the order that every run uses."""
    order: list[int] = np.random.default_rng(SHUFFLE_SEED).permutation(count).tolist()
    return order
