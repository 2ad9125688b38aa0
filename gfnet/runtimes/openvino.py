"""OpenVINO on a CPU: compiled graphs in float32 or bfloat16."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from gfnet.model import GFNet
from gfnet.routing import RoutedOutputs
from gfnet.runtimes.availability import UnavailableError
from gfnet.runtimes.exported import GraphMaker, single_onnx, to_onnx
from gfnet.runtimes.mixed import with_float32_kept
from gfnet.runtimes.routed import IMAGE, OUTPUTS, limit_name, routed_onnx
from gfnet.runtimes.staged import StagedRuntime

_HINTS = {"float32": "f32", "bfloat16": "bf16", "int8": "f32"}
"""Of what the graph leaves open: the products of an int8 graph are int8 by the graph itself."""


def openvino(
    model: GFNet, precision: str, threads: int, graph_of: GraphMaker = to_onnx
) -> StagedRuntime:
    """Put a model on OpenVINO.

    Raises:
        UnavailableError: this CPU has no bfloat16 arithmetic that OpenVINO uses.
    """
    request = request_maker(precision, threads)
    return StagedRuntime(
        model,
        lambda stage: _Request(request(graph_of(stage)), has_gate=stage.has_gate),
        lambda stage: _Request(request(single_onnx(stage, graph_of)), has_gate=stage.has_gate),
        lambda stages: _Router(request(routed_onnx(stages, graph_of)), len(stages) - 1),
    )


def request_maker(precision: str, threads: int) -> Callable[[bytes], Any]:
    """Return what compiles a graph, and makes a request of it.

    Raises:
        UnavailableError: this CPU has no bfloat16 arithmetic that OpenVINO uses.
    """
    core = _core()
    has = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if precision == "bfloat16" and "BF16" not in has:
        raise UnavailableError(f"OpenVINO has no bfloat16 on this CPU, only {', '.join(has)}")
    settings = {
        "INFERENCE_PRECISION_HINT": _HINTS[precision],
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
        "ENABLE_CPU_PINNING": False,  # its threads stay on this process's CPUs
    }

    def request(graph: bytes) -> Any:
        read = core.read_model(graph)
        if precision == "bfloat16":
            read = with_float32_kept(core, read)
        return core.compile_model(read, "CPU", settings).create_infer_request()

    return request


def infer_named(
    request: Any, entering: Mapping[str, Tensor], outputs: Sequence[str]
) -> list[Tensor]:
    """Run a request; what it returns is its own memory, which the next run overwrites."""
    import openvino as ov

    memory = {  # kept until the request has run
        name: ov.Tensor(tensor.contiguous().numpy(), shared_memory=True)
        for name, tensor in entering.items()
    }
    for name, tensor in memory.items():
        request.set_tensor(name, tensor)
    found = request.infer(share_outputs=True)
    return [torch.from_numpy(found[name]) for name in outputs]


@cache
def _core() -> Any:
    """Return OpenVINO's core, one per process, which is never freed.

    Its plugin gives signal handlers a stack. When the last of several cores is freed, handlers may
    keep a stack that no longer exists: the next Ctrl-C is a segmentation fault (OpenVINO 2026.4).

    Even with pinning off, its TBB lets computing threads run on all CPUs that it saw at its start,
    through hwloc. HWLOC_THISSYSTEM=0 tells hwloc that this is another machine: it binds nothing.
    """
    os.environ.setdefault("HWLOC_THISSYSTEM", "0")
    import openvino as ov

    return ov.Core()


class _Request:
    """One stage in OpenVINO."""

    def __init__(self, request: Any, *, has_gate: bool) -> None:
        import openvino as ov

        self._request = request
        self._tokens = int(has_gate)  # number of outputs that are tokens
        self._tensor = ov.Tensor

    def __call__(self, entering: Tensor) -> Sequence[Tensor]:
        """Run the stage; the next call overwrites the tokens that it returns."""
        memory = self._tensor(entering.contiguous().numpy(), shared_memory=True)
        self._request.set_input_tensor(memory)
        found = self._request.infer(share_outputs=True)  # views of the request's own memory
        views = [torch.from_numpy(found[place]) for place in range(len(found))]
        tokens, answers = views[: self._tokens], views[self._tokens :]
        return [*tokens, *(answer.clone() for answer in answers)]


class _Router:
    """All stages in OpenVINO, for one image."""

    def __init__(self, request: Any, gates: int) -> None:
        import numpy as np
        import openvino as ov

        self._request = request
        self._tensor = ov.Tensor
        self._limits = np.zeros((gates, 1), np.float32)
        for gate, limit in enumerate(self._limits):
            request.set_tensor(limit_name(gate), ov.Tensor(limit, shared_memory=True))

    def __call__(self, image: Tensor, limits: Sequence[float]) -> RoutedOutputs:
        """Route (1, 3, H, W)."""
        self._limits[:, 0] = limits
        memory = self._tensor(image.contiguous().numpy(), shared_memory=True)
        self._request.set_tensor(IMAGE, memory)
        found = self._request.infer(share_outputs=True)  # views of the request's own memory
        return RoutedOutputs(*(torch.from_numpy(found[name]).clone() for name in OUTPUTS))
