"""ONNX Runtime as an engine: on a CPU, and on a GPU by its CUDA provider."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from gfnet.model import GFNet
from gfnet.routing import RoutedOutputs
from gfnet.runtimes.availability import CUDA_PROVIDER
from gfnet.runtimes.exported import TOKENS, GraphMaker, single_onnx, to_onnx
from gfnet.runtimes.gpu_graphs import for_gpu_graphs, gpu_graph
from gfnet.runtimes.routed import routed_onnx
from gfnet.runtimes.session import BoundSession, Provider, stream_of
from gfnet.runtimes.staged import StagedRuntime

_HIDES_INT8 = ("MatMulAddFusion",)
"""Where the batch size is fixed it makes a `Gemm` of a product and its bias, which ONNX Runtime
(1.32) then leaves in float32: a CIFAR-10 model took 7.2 ms with it, 2.1 ms without, and 3.0 ms in
float32."""


def onnx(
    model: GFNet, precision: str, threads: int, graph_of: GraphMaker = to_onnx
) -> StagedRuntime:
    """Put a model on ONNX Runtime's CPU provider."""
    provider = Provider(threads=threads, left_out=_HIDES_INT8 if precision == "int8" else ())
    return StagedRuntime(
        model,
        lambda stage: OnnxStage(graph_of(stage), provider),
        lambda stage: OnnxStage(single_onnx(stage, graph_of), provider),
        lambda stages: _Router(
            routed_onnx(stages, graph_of),
            len(stages) - 1,
            # Planned, each branch has a block of memory of its own, which no cache has: unplanned,
            # it computes where the blocks before it did. That took 0.2 ms off each exit.
            replace(provider, plans_memory=False),
        ),
    )


def onnx_on_cuda(model: GFNet, precision: str) -> StagedRuntime:
    """Put a model on ONNX Runtime's CUDA provider.

    One graph serves one image and several: its kernels are the same. A single image is routed stage
    by stage too, since the host reads the condition of an `If` anyway.

    Raises:
        WrongEngineError: ONNX Runtime built something else.
    """
    provider = cuda_provider()
    return StagedRuntime(
        model,
        lambda stage: OnnxStage(gpu_graph(stage), provider),
        prepare=lambda each: for_gpu_graphs(each, precision),
    )


def cuda_provider() -> Provider:
    """Return the CUDA provider on torch's current device."""
    index = torch.cuda.current_device()
    stream = stream_of(index)
    options = {
        "device_id": str(index),
        "user_compute_stream": str(stream.cuda_stream),
        "use_tf32": "0",  # float32 is float32, as torch's products are
        # Its default searches whenever a number of images comes first, also under the clock.
        "cudnn_conv_algo_search": "HEURISTIC",
    }
    device = torch.device("cuda", index)
    return Provider(CUDA_PROVIDER, device, options=options, stream=stream)


class OnnxStage:
    """One stage in ONNX Runtime.

    Args:
        graph: of `exported`.
        provider: where it runs.
    """

    def __init__(self, graph: bytes, provider: Provider) -> None:
        self._session = BoundSession(graph, provider)
        # Number of outputs that the next call may overwrite.
        self._tokens = sum(port.name == TOKENS for port in self._session.outputs)

    def __call__(self, entering: Tensor) -> Sequence[Tensor]:
        """Run the stage; the next call overwrites the tokens that it returns."""
        written = self._session(entering)
        tokens, answers = written[: self._tokens], written[self._tokens :]
        return [*tokens, *(answer.clone() for answer in answers)]


class _Router:
    """All stages in ONNX Runtime, for one image."""

    def __init__(self, graph: bytes, gates: int, provider: Provider) -> None:
        self._session = BoundSession(graph, provider)
        self._limits = torch.zeros(gates, 1)
        for gate, limit in enumerate(self._limits):
            self._session.bind(1 + gate, limit)
        self._given: Sequence[float] = ()

    def __call__(self, image: Tensor, limits: Sequence[float]) -> RoutedOutputs:
        """Route (1, 3, H, W)."""
        if limits != self._given:
            self._limits[:, 0] = torch.tensor(limits)
            self._given = limits
        return RoutedOutputs(*(each.clone() for each in self._session(image)))
