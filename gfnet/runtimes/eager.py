"""Eager torch in half precisions, by autocast; in float32 it is the model itself."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gfnet.model import GFNet
from gfnet.routing import StageCall
from gfnet.runtimes.staged import StagedRuntime


def eager(model: GFNet, precision: str) -> StagedRuntime:
    """The model in a half precision: by matrix filters, since no FFT has one."""
    return StagedRuntime(model, lambda stage: under_autocast(stage, precision))


def under_autocast(stage: StageCall, precision: str) -> StageCall:
    """A stage whose matrix products have a precision; what leaves it is float32."""
    if precision == "float32":
        return stage
    dtype = getattr(torch, precision)

    def run(entering: Tensor) -> Sequence[Tensor]:
        with torch.autocast(entering.device.type, dtype):
            return [each.float() for each in stage(entering)]

    return run
