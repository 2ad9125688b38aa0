"""torch.compile: each stage as two Inductor graphs, one for a single image and one for several.

Torch always specialises a batch of one, so that size has its own graph, and all other sizes share
the second. Both are compiled when the engine is built: nothing compiles while the clock runs, not
for a smaller last batch, nor for the only image of a batch that remains. Inductor caches its output
on disk, by the graph without its weights: the next process takes a second instead of many.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import FunctionType
from typing import Any

import torch
from torch import Tensor

from gfnet.model import GFNet
from gfnet.runtimes.eager import under_autocast, with_weights_of
from gfnet.runtimes.staged import StagedRuntime
from gfnet.runtimes.stages import Stage

SEVERAL = 2
"""Number of images with which the second graph is compiled."""

Graph = Callable[[Tensor], Sequence[Tensor]]


def compiled(model: GFNet, precision: str, threads: int) -> StagedRuntime:
    """Put a model on Inductor, with matrix filters, since Inductor does not optimise an FFT."""
    return StagedRuntime(
        model,
        lambda stage: _CompiledStage(stage, precision, threads),
        prepare=lambda each: with_weights_of(each, precision),
    )


class _CompiledStage:
    """One stage, compiled for any number of images."""

    def __init__(self, stage: Stage, precision: str, threads: int) -> None:
        device = next(stage.parameters()).device
        self._plain = under_autocast(stage, precision)
        # A CUDA graph has one fixed size: recording one for each size that a batch shrinks to would
        # cost more, while the clock runs, than launching the kernels for several images.
        self._is_replayed = device.type == "cuda"
        single: dict[str, Any] = (
            {"mode": "reduce-overhead"}
            if self._is_replayed
            else {"options": {"cpp.threads": threads}}
        )
        several: dict[str, Any] = {} if self._is_replayed else single
        single = _without_guards(single)
        self._single = torch.compile(_own(self._plain), fullgraph=True, dynamic=False, **single)
        self._several = torch.compile(_own(self._plain), fullgraph=True, dynamic=False, **several)
        with torch.inference_mode():
            self._single(torch.zeros(1, *stage.entering_shape, device=device))
            images = torch.zeros(SEVERAL, *stage.entering_shape, device=device)
            torch._dynamo.mark_dynamic(images, 0)  # noqa: SLF001 - its documented name
            self._several(images)

    def __call__(self, entering: Tensor) -> Sequence[Tensor]:
        """Run the stage; its outputs are new memory, which the next call does not overwrite."""
        if torch.is_inference_mode_enabled():
            return self._run(entering)
        with torch.inference_mode():
            leaving = self._run(entering)
        return [each.clone() for each in leaving]  # inference tensors would restrict the caller

    def _run(self, entering: Tensor) -> Sequence[Tensor]:
        """Run in inference mode, in which any other tensors would need a graph of their own."""
        if not entering.is_inference():
            entering = entering.clone()
        entering = entering.reshape(-1).view(entering.shape)  # a single image may have any strides
        if not len(entering):
            return self._plain(entering)
        if len(entering) > 1:
            return self._several(entering)
        leaving = self._single(entering)
        return [each.clone() for each in leaving] if self._is_replayed else leaving


def _without_guards(options: dict[str, Any]) -> dict[str, Any]:
    """Let torch check nothing before it runs a graph, where it can be told so.

    It would check each weight of the model before each call, for 0.1 ms per block. Nothing of what
    it checks changes: the model is a copy, and a graph only gets images of its one size. The graph
    for several images keeps its checks, which hold for the sizes that it was not compiled with.
    """
    skip = getattr(torch.compiler, "skip_all_guards_unsafe", None)
    if skip is None or "mode" in options:  # torch takes either a mode or options
        return options
    return {"options": options.get("options", {}) | {"guard_filter_fn": skip}}


def _own(stage: Graph) -> Graph:
    """Return the stage as a function with a code object of its own.

    Torch caches graphs by code object, at most 8 for each: stages and models that shared one would
    evict each other's graphs.
    """

    def run(entering: Tensor) -> Sequence[Tensor]:
        return stage(entering)

    own: Graph = FunctionType(
        run.__code__.replace(), run.__globals__, run.__name__, None, run.__closure__
    )
    return own
