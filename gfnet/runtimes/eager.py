"""Eager torch in half precision, by autocast; in float32, eager torch is the model itself."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gfnet.model import GFNet
from gfnet.routing import StageCall
from gfnet.runtimes.staged import StagedRuntime


def eager(model: GFNet, precision: str) -> StagedRuntime:
    """Put a model on eager torch in half precision, with matrix filters: no FFT supports it."""
    return StagedRuntime(model, lambda stage: under_autocast(stage, precision))


def under_autocast(stage: StageCall, precision: str) -> StageCall:
    """Return a stage whose matrix products have a precision; its outputs are float32."""
    if precision == "float32":
        return stage
    dtype = getattr(torch, precision)

    def run(entering: Tensor) -> Sequence[Tensor]:
        with torch.autocast(entering.device.type, dtype):
            return [each.float() for each in stage(entering)]

    return run
