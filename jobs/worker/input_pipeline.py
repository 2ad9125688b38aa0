"""Turns encoded images into batches on the device, and records the images that fail."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import gfnet
from gfnet.preprocess import ORIENTATION, geometry, normalisation
from jobs.machine.devices import Device

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

_TOGETHER = 8
"""Images normalised in one call: few calls, and the pixels are still in the cache.

For 32 px images this is also too few for torch to split among threads."""


class Pipeline:
    """Decodes, transforms, stacks and copies: the part of `elapsed_ms` outside `forward_ms`.

    Attributes:
        device: the device that batches are copied to.
        failures: the decoder's message, by position in the shard.
        is_turned: whether an image carries an EXIF orientation that was ignored.
    """

    def __init__(self, preprocessing: gfnet.Preprocessing, device: Device) -> None:
        self._exif = preprocessing.exif
        self._transform = gfnet.transform(preprocessing)
        self._geometry = geometry(preprocessing)
        self._normalise = normalisation(preprocessing)
        self.device = device
        self.failures: dict[int, str] = {}
        self.is_turned = False

    def batch(
        self, encoded: Sequence[bytes | None], places: Sequence[int]
    ) -> tuple[Tensor | None, list[int]]:
        """Prepare the images at some positions of a shard one by one, as timed passes do.

        Returns: (B, 3, crop, crop) on the device, and the positions of the images in it: those that
            could be decoded. None instead of a tensor if none could.
        """
        import torch

        tensors, kept = self._each(self._transform, encoded, places)
        if not kept:
            return None, kept
        return torch.stack(tensors).to(self.device.name), kept

    def bulk(
        self, encoded: Sequence[bytes | None], places: Sequence[int]
    ) -> tuple[Tensor | None, list[int]]:
        """Same result as `batch`, bit for bit, but a third faster or more; for untimed passes.

        Images are kept as bytes and normalised several at a time (`benchmarks/decode.py`).
        """
        import torch

        pixels, kept = self._each(self._geometry, encoded, places)
        if not kept:
            return None, kept
        batch = torch.empty(len(kept), *pixels[0].shape)
        for start in range(0, len(kept), _TOGETHER):
            part = slice(start, start + _TOGETHER)
            batch[part] = self._normalise(torch.stack(pixels[part]))
        return batch.to(self.device.name), kept

    def _each(
        self,
        prepare: Callable[[Image], Tensor],
        encoded: Sequence[bytes | None],
        places: Sequence[int],
    ) -> tuple[list[Tensor], list[int]]:
        """Prepares the images that can be decoded; returns them and their positions."""
        tensors, kept = [], []
        for place in places:
            try:
                image = gfnet.decode(encoded[place], self._exif)
                tensors.append(prepare(image))
                kept.append(place)
                self.is_turned |= ORIENTATION in image.info
            except gfnet.DecodeError as err:  # continue with the others
                self.failures[place] = str(err)
        return tensors, kept
