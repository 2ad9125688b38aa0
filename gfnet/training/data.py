"""Training images as tensors: the held-out images, and the augmentation of a batch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2

from gfnet.preprocess import Preprocessing, normalisation
from gfnet.training.settings import Augmentation, HoldOut

VALIDATION_BATCH = 256
"""Images per validation batch, in every stage."""


class Samples(NamedTuple):
    """Images with their labels.

    Attributes:
        images: (n, 3, H, W) uint8, as `gfnet.preprocess.geometry` cuts them.
        labels: (n,) int64.
    """

    images: Tensor
    labels: Tensor

    def batches(self, size: int) -> Iterator[Samples]:
        """All samples in their order, `size` at a time; the last batch may be smaller."""
        for start in range(0, len(self.labels), size):
            batch = slice(start, start + size)
            yield Samples(self.images[batch], self.labels[batch])

    def shuffled_rows(self, size: int) -> tuple[Tensor, ...]:
        """Return the row numbers of each batch, in an order drawn from torch's generator."""
        return torch.split(torch.randperm(len(self.labels)), size)

    def take(self, rows: Tensor) -> Samples:
        """Return the samples of these rows."""
        return Samples(self.images[rows], self.labels[rows])


class Batch(NamedTuple):
    """What a model learns from in one step.

    Attributes:
        images: (B, 3, H, W) float32, normalised.
        targets: (B,) int64 labels, or (B, K) class probabilities if images were mixed.
    """

    images: Tensor
    targets: Tensor

    def to(self, device: torch.device) -> Batch:
        """Return the same batch on a device."""
        return Batch(self.images.to(device), self.targets.to(device))


class TrainingData(NamedTuple):
    """Images to learn from, and images to make every choice by; both from the training split."""

    train: Samples
    validation: Samples


def hold_out(samples: Samples, held: HoldOut) -> TrainingData:
    """Hold a validation set out of the training images, the same share of each class.

    Args:
        samples: of the training split, in the data set's own order.
        held: how much; rounded per class, but at least one of a class of two or more.

    Raises:
        ValueError: no images would be left to learn from, or to choose by.
    """
    generator = torch.Generator().manual_seed(held.seed)
    is_held = torch.zeros(len(samples.labels), dtype=torch.bool)
    for label in sorted(set(samples.labels.tolist())):
        rows = (samples.labels == label).nonzero().squeeze(1)
        count = max(round(len(rows) * held.fraction), 1 if len(rows) > 1 else 0)
        is_held[rows[torch.randperm(len(rows), generator=generator)[:count]]] = True
    if is_held.all() or not is_held.any():
        raise ValueError(
            f"a validation fraction of {held.fraction:g} holds out {int(is_held.sum())} of"
            f" {len(is_held)}"
            " images; at least one must be held out, and one kept"
        )
    kept = ~is_held
    return TrainingData(
        Samples(samples.images[kept], samples.labels[kept]),
        Samples(samples.images[is_held], samples.labels[is_held]),
    )


class Augment:
    """Changes each image of a batch at random, normalises, and mixes images with each other.

    The changes are torchvision's, drawn from torch's generator separately for each image. Areas
    that move in from outside are black, erased areas have the mean colour.

    Args:
        augmentation: how far images may be changed.
        preprocessing: of the images.
        num_classes: K, for mixed targets.
    """

    def __init__(
        self, augmentation: Augmentation, preprocessing: Preprocessing, num_classes: int
    ) -> None:
        self._normalise = normalisation(preprocessing)
        steps = _steps(augmentation, preprocessing)
        self._change = v2.Compose(steps) if steps else None
        self._mix = _mix(augmentation, num_classes)

    def __call__(self, samples: Samples) -> Batch:
        """Return an augmented batch of these samples."""
        images, targets = samples
        if self._change:
            # One change is drawn per call: in one call, all images of a batch would change alike.
            images = torch.stack([self._change(image) for image in images])
        images = self._normalise(images)
        if self._mix:
            images, targets = self._mix(images, targets)
        return Batch(images, targets)


class Prepare:
    """Normalises samples without augmentation, for validation.

    Args:
        preprocessing: of the images.
    """

    def __init__(self, preprocessing: Preprocessing) -> None:
        self._normalise = normalisation(preprocessing)

    def __call__(self, samples: Samples) -> Batch:
        """Return the samples as a model's input."""
        return Batch(self._normalise(samples.images), samples.labels)


def _steps(augmentation: Augmentation, preprocessing: Preprocessing) -> list[Any]:
    """Return the requested changes, each for a single (3, H, W) uint8 image."""
    steps: list[Any] = []
    if augmentation.rotate_degrees or augmentation.shift or augmentation.scale:
        steps.append(
            v2.RandomAffine(
                degrees=augmentation.rotate_degrees,
                translate=(augmentation.shift, augmentation.shift),
                scale=(1 - augmentation.scale, 1 + augmentation.scale),
                interpolation=InterpolationMode.BILINEAR,
            )
        )
    if augmentation.crop_padding:
        steps.append(v2.RandomCrop(preprocessing.crop, padding=augmentation.crop_padding))
    if "horizontal" in augmentation.flips:
        steps.append(v2.RandomHorizontalFlip())
    if "vertical" in augmentation.flips:
        steps.append(v2.RandomVerticalFlip())
    if augmentation.trivial:
        steps.append(v2.TrivialAugmentWide())
    if augmentation.erase:
        colour = [round(channel * 255) for channel in preprocessing.mean]
        steps.append(v2.RandomErasing(augmentation.erase, value=colour))
    return steps


def _mix(augmentation: Augmentation, num_classes: int) -> Any:
    """Return MixUp, CutMix, a random choice of both for each batch, or None."""
    mixes = []
    if augmentation.mixup:
        mixes.append(v2.MixUp(alpha=augmentation.mixup, num_classes=num_classes))
    if augmentation.cutmix:
        mixes.append(v2.CutMix(alpha=augmentation.cutmix, num_classes=num_classes))
    return v2.RandomChoice(mixes) if mixes else None
