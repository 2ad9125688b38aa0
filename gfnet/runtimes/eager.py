"""Eager torch in half precision, by autocast; in float32, eager torch is the model itself."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gfnet.model import GFNet
from gfnet.routing import StageCall
from gfnet.runtimes.staged import StagedRuntime
from gfnet.runtimes.stages import with_matrix_filters


def eager(model: GFNet, precision: str) -> StagedRuntime:
    """Put a model on eager torch in half precision, with matrix filters: no FFT supports it."""
    return StagedRuntime(
        model,
        lambda stage: under_autocast(stage, precision),
        prepare=lambda each: with_weights_of(each, precision),
    )


def with_weights_of(model: GFNet, precision: str) -> GFNet:
    """Return a copy as `with_matrix_filters`, whose MLPs have their weights in a precision.

    Autocast would convert them in every call, for a fifth of a forward pass of one image: it keeps
    what it has converted only of weights that are being trained. The answers are the same, bit for
    bit.
    """
    changed = with_matrix_filters(model)
    for block in changed.numbered_blocks():
        block.mlp.to(getattr(torch, precision))
    return changed


def under_autocast(stage: StageCall, precision: str) -> StageCall:
    """Return a stage whose matrix products have a precision; its outputs are float32."""
    if precision == "float32":
        return stage
    dtype = getattr(torch, precision)

    def run(entering: Tensor) -> Sequence[Tensor]:
        with torch.autocast(entering.device.type, dtype):
            return [each.float() for each in stage(entering)]

    return run
