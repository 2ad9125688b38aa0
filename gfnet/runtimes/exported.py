"""Stages as ONNX graphs, for the engines that read them."""

from __future__ import annotations

import warnings

import torch

from gfnet.runtimes.stages import Stage

OPSET = 18
ENTERING = "entering"


def to_onnx(stage: Stage) -> bytes:
    """The graph of one stage, for any batch size."""
    leaving = ("tokens", "logits", "gate_scores") if stage.has_gate else ("logits",)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of the exporter's own internals
        program = torch.onnx.export(
            stage,
            (torch.zeros(2, *stage.entering_shape),),
            input_names=[ENTERING],
            output_names=list(leaving),
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
        assert program is not None  # noqa: S101 - an invariant: None comes of f=path alone
    graph: bytes = program.model_proto.SerializeToString()
    return graph
