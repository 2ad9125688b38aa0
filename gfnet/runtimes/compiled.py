"""torch.compile: each stage as two Inductor graphs, one for a single image and one for several.

Torch always specialises a batch of one, so that size has its own graph, and all other sizes share
the second. Both are compiled when the engine is built: nothing compiles while the clock runs, not
for a smaller last batch, nor for the only image of a batch that remains. Inductor caches its output
on disk, by the graph without its weights: the next process takes a second instead of many.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import FunctionType
from typing import Any

import torch
from torch import Tensor
from torch._inductor.compile_fx import compile_fx

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
        options: dict[str, Any] = {} if self._is_replayed else {"cpp.threads": threads}
        self._several = torch.compile(
            _own(self._plain), fullgraph=True, dynamic=False, options=options
        )
        image = torch.zeros(1, *stage.entering_shape, device=device)
        with torch.inference_mode():
            self._single = (
                torch.compile(
                    _own(self._plain), fullgraph=True, dynamic=False, mode="reduce-overhead"
                )
                if self._is_replayed
                else _graph_of(self._plain, image.clone(), options)
            )
            self._single(image.clone())
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


def _graph_of(stage: Graph, image: Tensor, options: Mapping[str, Any]) -> Graph:
    """Compile a stage for one image, and return its graph, to be called without torch's way there.

    Before each call, torch.compile's own function checks each weight of the model, for 0.1 ms per
    block, and looks the graph up. Nothing of what it checks changes: the model is a copy, and the
    graph only gets images of its one size.

    Args:
        stage: to compile.
        image: what may enter it, in inference mode, in which the graph must be called too.
        options: of Inductor.
    """
    calls: list[tuple[Callable[..., Sequence[Tensor]], list[Any], Sequence[Tensor]]] = []

    def inductor(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable[..., Any]:
        run: Any = compile_fx(graph, inputs, config_patches=dict(options))

        def run_noted(*given: Any) -> Sequence[Tensor]:
            leaving: Sequence[Tensor] = run(*given)
            calls[:] = [(run, list(given), leaving)]
            return leaving

        return run_noted

    function = torch.compile(_own(stage), fullgraph=True, dynamic=False, backend=inductor)
    found = function(image)
    ((run, given, leaving),) = calls
    calls.clear()
    (place,) = (at for at, each in enumerate(given) if each is image)
    assert list(map(id, leaving)) == list(map(id, found))  # nothing is done to them afterwards

    def run_graph(entering: Tensor) -> Sequence[Tensor]:
        arguments = given.copy()
        arguments[place] = entering
        answers: Sequence[Tensor] = run(*arguments)
        return answers

    return run_graph


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
