"""The training images as tensors: what is held out of them, and how they are served."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2

from gfnet.preprocess import Preprocessing
from gfnet.training.settings import Augmentation, HoldOut


class Samples(NamedTuple):
    """Prepared images with their labels.

    Attributes:
        images: (n, 3, H, W) float32, as `gfnet.transform` prepares them.
        labels: (n,) int64.
    """

    images: Tensor
    labels: Tensor

    def batches(self, size: int) -> Iterator[Samples]:
        """All samples in their order, `size` at a time; the last batch may be smaller."""
        for start in range(0, len(self.labels), size):
            batch = slice(start, start + size)
            yield Samples(self.images[batch], self.labels[batch])

    def shuffled(self) -> Samples:
        """The same samples in an order drawn from torch's generator."""
        order = torch.randperm(len(self.labels))
        return Samples(self.images[order], self.labels[order])


class TrainingData(NamedTuple):
    """What is learned from, and what every choice is made by. Both of the training split."""

    train: Samples
    validation: Samples


def hold_out(samples: Samples, held: HoldOut) -> TrainingData:
    """Hold a validation set out of the training images, the same share of each class.

    Args:
        samples: of the training split, in the data set's own order.
        held: how much; of each class rounded, but at least one image where it has two.

    Raises:
        ValueError: nothing would be left to learn from, or to choose by.
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
            " images; some must be left on either side"
        )
    kept = ~is_held
    return TrainingData(
        Samples(samples.images[kept], samples.labels[kept]),
        Samples(samples.images[is_held], samples.labels[is_held]),
    )


class Augment:
    """Move each image of a batch by a random amount of its own.

    Args:
        augmentation: how far.
        preprocessing: of the images; what moves in is black, as its normalisation has it.

    Shape:
        (B, 3, H, W) to (B, 3, H, W).
    """

    def __init__(self, augmentation: Augmentation, preprocessing: Preprocessing) -> None:
        self.is_identity = augmentation == Augmentation()
        mean, std = torch.tensor(preprocessing.mean), torch.tensor(preprocessing.std)
        self._black = (-mean / std).view(-1, 1, 1)
        self._affine = v2.RandomAffine(
            degrees=augmentation.rotate_degrees,
            translate=(augmentation.shift, augmentation.shift),
            scale=(1 - augmentation.scale, 1 + augmentation.scale),
            interpolation=InterpolationMode.BILINEAR,
        )

    def __call__(self, images: Tensor) -> Tensor:
        """Move each of (B, 3, H, W) images."""
        if self.is_identity:
            return images
        # Black is made 0 meanwhile: bilinear sampling mixes any other fill into the edges wrongly.
        # One movement is drawn a call, so that a batch in one call would move as one.
        light = images - self._black
        return torch.stack([self._affine(image) for image in light]) + self._black
