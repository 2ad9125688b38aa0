"""From encoded bytes to a batch on the device, with every image that fails named."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import gfnet
from jobs.device import Device

if TYPE_CHECKING:
    from torch import Tensor


class Pipeline:
    """Decode, transform, stack, copy: the part of `elapsed_ms` that `forward_ms` leaves out.

    Attributes:
        failures: by place in the shard, what the decoder said.
    """

    def __init__(self, preprocessing: gfnet.Preprocessing, device: Device) -> None:
        self._transform = gfnet.transform(preprocessing)
        self._device = device
        self.failures: dict[int, str] = {}

    def batch(
        self, encoded: Sequence[bytes | None], places: Sequence[int]
    ) -> tuple[Tensor | None, list[int]]:
        """Prepare the images at some places of a shard.

        Returns: (B, 3, crop, crop) on the device, and the places that it holds: those whose image
            could be decoded. None where none could.
        """
        import torch

        tensors, kept = [], []
        for place in places:
            try:
                tensors.append(self._transform(gfnet.decode(encoded[place])))
                kept.append(place)
            except gfnet.DecodeError as err:  # noqa: PERF203 - the others go on
                self.failures[place] = str(err)
        if not tensors:
            return None, kept
        return torch.stack(tensors).to(self._device.name), kept
