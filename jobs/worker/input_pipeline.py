"""From encoded bytes to a batch on the device, with every image that fails named."""

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
"""Images normalised by one call: few calls, and their pixels are still in the cache.

Of 32 px images that is also less than torch would share out among threads."""


class Pipeline:
    """Decode, transform, stack, copy: the part of `elapsed_ms` that `forward_ms` leaves out.

    Attributes:
        device: where batches go.
        failures: by place in the shard, what the decoder said.
        is_turned: an image carries an EXIF orientation, which was ignored.
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
        """Prepare the images at some places of a shard, one after the other: what a clock sees.

        Returns: (B, 3, crop, crop) on the device, and the places that it holds: those whose image
            could be decoded. None where none could.
        """
        import torch

        tensors, kept = self._each(self._transform, encoded, places)
        if not kept:
            return None, kept
        return torch.stack(tensors).to(self.device.name), kept

    def bulk(
        self, encoded: Sequence[bytes | None], places: Sequence[int]
    ) -> tuple[Tensor | None, list[int]]:
        """As `batch`, bit for bit, and a third faster or more: what passes without a clock use.

        Images are held as bytes and normalised several at a time (`benchmarks/decode.py`).
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
        """The images that can be decoded, prepared, and their places; the others are failures."""
        tensors, kept = [], []
        for place in places:
            try:
                image = gfnet.decode(encoded[place], self._exif)
                tensors.append(prepare(image))
                kept.append(place)
                self.is_turned |= ORIENTATION in image.info
            except gfnet.DecodeError as err:  # the others go on
                self.failures[place] = str(err)
        return tensors, kept
