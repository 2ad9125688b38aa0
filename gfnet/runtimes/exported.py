"""Exports stages as ONNX graphs for the engines that read them, once per host."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import torch

import gfnet
from gfnet.runtimes.kept import kept
from gfnet.runtimes.stages import Stage

if TYPE_CHECKING:
    from onnx import ModelProto

OPSET = 20  # the first with GELU as one operation
ENTERING = "entering"
TOKENS = "tokens"
_BATCH = "batch"


GraphMaker = Callable[[Stage], bytes]
"""Makes the graph of a stage, on the CPU, for any batch size."""


def to_onnx(stage: Stage, opset: int = OPSET) -> bytes:
    """Return the graph of one stage for any batch size, exported now or by an earlier process.

    Args:
        stage: on the CPU.
        opset: version of the operations that the graph may use.
    """
    return keep_graph(stage, opset, lambda: _export(stage, opset))


def keep_graph(stage: Stage, opset: int, make: Callable[[], bytes], made_of: str = "") -> bytes:
    """Return a graph of a stage that any process of this host has kept, or make and keep it.

    Args:
        stage: on the CPU.
        opset: of the graph.
        make: makes it.
        made_of: what else determines it.
    """
    if not type(stage.model).__module__.startswith(gfnet.__name__):
        return make()  # the key covers only this package's source
    return kept(_key(stage, opset, made_of), make)


def single_onnx(stage: Stage, graph_of: GraphMaker = to_onnx) -> bytes:
    """Return the graph of one stage for one image."""
    import onnx

    several = onnx.load_model_from_string(graph_of(stage))
    graph: bytes = single_image(several).SerializeToString()
    return graph


def single_image(model: ModelProto) -> ModelProto:
    """Fix the batch size of a graph to 1, in place: an engine optimises known sizes better."""
    graph = model.graph
    for value in (*graph.input, *graph.output, *graph.value_info):
        for size in value.type.tensor_type.shape.dim:
            if size.dim_param == _BATCH:
                size.dim_value = 1
    return model


def _key(stage: Stage, opset: int = OPSET, made_of: str = "") -> str:
    """Return a digest of all that determines the graph: weights, sizes, code and exporter.

    The engine that reads the graph, and its version, do not count: all engines share one graph.
    """
    ends = stage.model.config, stage.model.exit_rule, stage.first, stage.last, opset, _exporter()
    digest = hashlib.sha256(repr((ends, made_of)).encode())
    # Buffers too, which no checkpoint has: they include the matrices of the filters.
    for name, tensor in (*stage.named_parameters(), *stage.named_buffers()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        # As bytes: NumPy has no bfloat16.
        content = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        digest.update(content.numpy().tobytes())
    return digest.hexdigest()


@cache
def _exporter() -> tuple[str, ...]:
    """Return a digest of this package's source, and versions of the packages that export."""
    digest = hashlib.sha256()
    for file in sorted(Path(gfnet.__file__).parent.rglob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest(), *(version(name) for name in ("torch", "onnx", "onnxscript"))


def _export(stage: Stage, opset: int) -> bytes:
    leaving = (TOKENS, "logits", "gate_scores") if stage.has_gate else ("logits",)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # about the exporter's own internals
        program = torch.onnx.export(
            stage,
            (torch.zeros(2, *stage.entering_shape),),
            input_names=[ENTERING],
            output_names=list(leaving),
            dynamic_shapes=({0: torch.export.Dim(_BATCH)},),
            opset_version=opset,
            dynamo=True,
            verbose=False,
        )
        assert program is not None  # None is returned only with f=path
    graph: bytes = program.model_proto.SerializeToString()
    return graph
