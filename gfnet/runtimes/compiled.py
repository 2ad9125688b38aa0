"""torch.compile: each stage as two graphs of Inductor, one for a single image and one for several.

Torch always specialises a batch of one, so it is given a graph of its own, and every other size
shares the second. Both are made when the engine is: nothing compiles under a clock, not for a
ragged last batch, nor for the one image of a batch that stays. Inductor keeps what it made on disk,
by the graph without its weights: the next process takes a second where the first took many.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import FunctionType
from typing import Any

import torch
from torch import Tensor

from gfnet.model import GFNet
from gfnet.runtimes.eager import under_autocast
from gfnet.runtimes.staged import StagedRuntime
from gfnet.runtimes.stages import Stage

SEVERAL = 2
"""Images that the second graph is made with."""

Graph = Callable[[Tensor], Sequence[Tensor]]


def compiled(model: GFNet, precision: str, threads: int) -> StagedRuntime:
    """Put a model on Inductor; by matrix filters, since it leaves an FFT as it is."""
    return StagedRuntime(model, lambda stage: _CompiledStage(stage, precision, threads))


class _CompiledStage:
    """One stage, compiled for any number of images."""

    def __init__(self, stage: Stage, precision: str, threads: int) -> None:
        device = next(stage.parameters()).device
        self._plain = under_autocast(stage, precision)
        # CUDA graphs hold one size each: recording one for each size that is left in a batch would
        # cost more, and under the clock, than launching the kernels of several images does.
        self._is_replayed = device.type == "cuda"
        single: dict[str, Any] = (
            {"mode": "reduce-overhead"}
            if self._is_replayed
            else {"options": {"cpp.threads": threads}}
        )
        several: dict[str, Any] = {} if self._is_replayed else single
        self._single = torch.compile(_own(self._plain), fullgraph=True, dynamic=False, **single)
        self._several = torch.compile(_own(self._plain), fullgraph=True, dynamic=False, **several)
        with torch.inference_mode():
            self._single(torch.zeros(1, *stage.entering_shape, device=device))
            images = torch.zeros(SEVERAL, *stage.entering_shape, device=device)
            torch._dynamo.mark_dynamic(images, 0)  # noqa: SLF001 - its documented name
            self._several(images)

    def __call__(self, entering: Tensor) -> Sequence[Tensor]:
        """Run the stage; what it gives is new memory, which the next call leaves alone."""
        if torch.is_inference_mode_enabled():
            return self._run(entering)
        with torch.inference_mode():
            leaving = self._run(entering)
        return [each.clone() for each in leaving]  # no inference tensors: a caller may want more

    def _run(self, entering: Tensor) -> Sequence[Tensor]:
        """Run in inference mode, where a graph takes tensors of that mode alone without another."""
        if not entering.is_inference():
            entering = entering.clone()
        entering = entering.reshape(-1).view(entering.shape)  # strides of 1 image are any otherwise
        if not len(entering):
            return self._plain(entering)
        if len(entering) > 1:
            return self._several(entering)
        leaving = self._single(entering)
        return [each.clone() for each in leaving] if self._is_replayed else leaving


def _own(stage: Graph) -> Graph:
    """The stage as a function with code of its own.

    Torch keeps graphs by code object, and no more than 8 of one: stages and models that share
    theirs would fall out of each other's place.
    """

    def run(entering: Tensor) -> Sequence[Tensor]:
        return stage(entering)

    own: Graph = FunctionType(
        run.__code__.replace(), run.__globals__, run.__name__, None, run.__closure__
    )
    return own
