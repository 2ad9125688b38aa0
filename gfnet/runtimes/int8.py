"""Quantises exported graphs to int8: which products, and over which ranges.

Only the products of tokens with weights, those of the MLPs, are int8: nearly all of the arithmetic.
Norms, filters, gates, heads and the patch embedding stay float32. ONNX Runtime's quantiser does it,
and every engine reads its graph, where a QuantizeLinear and a DequantizeLinear surround what is
quantised.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gfnet.preprocess import DecodeError, Preprocessing, prepare_images
from gfnet.runtimes.availability import UnavailableError, installed_onnxruntime
from gfnet.runtimes.exported import ENTERING, OPSET, GraphMaker, keep_graph, to_onnx
from gfnet.runtimes.onnxruntime_module import load_onnxruntime
from gfnet.runtimes.stages import Stage

if TYPE_CHECKING:
    from onnx import ModelProto

_BATCH = 16
"""Images of one pass: few, so that the activations of a large model fit into a small memory."""


@dataclass(frozen=True)
class CalibrationImages:
    """Images from whose activations the ranges of int8 are taken.

    Attributes:
        name: the same only for the same images.
        encoded: reads them; called only if no process of this host has kept the graph.
        preprocessing: of the model.
    """

    name: str
    encoded: Callable[[], Sequence[bytes | None]]
    preprocessing: Preprocessing

    @property
    def key(self) -> str:
        """Text that is the same only for the same input of the model."""
        return f"{self.name} {json.dumps(self.preprocessing.to_json(), sort_keys=True)}"

    def read(self) -> Tensor:
        """Return (B, 3, H, W), prepared for the model, on the CPU.

        Raises:
            DecodeError: an image cannot be decoded.
        """
        try:
            return prepare_images(self.encoded(), self.preprocessing)
        except DecodeError as err:
            raise DecodeError(f"a calibration image cannot be decoded: {err}") from err


def int8_graphs(calibration: CalibrationImages, opset: int = OPSET) -> GraphMaker:
    """Return what makes the graph of a stage in int8.

    Args:
        calibration: every image passes every stage, also those that would have exited before it.
        opset: version of the operations that the graph may use.
    """

    def graph_of(stage: Stage) -> bytes:
        return keep_graph(
            stage,
            opset,
            lambda: _quantise(to_onnx(stage, opset), stage, calibration.read()),
            made_of=f"int8 {calibration.key} {installed_onnxruntime()}",
        )

    return graph_of


def _quantise(graph: bytes, stage: Stage, images: Tensor) -> bytes:
    """Return a stage's graph with its products in int8, over the ranges that images show.

    Raises:
        UnavailableError: an activation is not finite.
    """
    import onnx

    load_onnxruntime()  # before its quantiser, which would import it otherwise
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    model = onnx.load_model_from_string(graph)
    # Else the quantiser asks for what its preparation does, shapes and folded constants, which
    # torch's exporter has done.
    onnx.helper.set_model_props(model, {"onnx.quant.pre_process": "onnxruntime.quant"})
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / "int8.onnx"
        quantize_static(
            model,
            written,
            _Entering(stage, images),
            quant_format=QuantFormat.QDQ,
            nodes_to_quantize=_weighted_products(model),
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            # Weights of seven bits: where a processor sums pairs of products in 16 bits, as x86-64
            # without VNNI does, eight may overflow without a word, and its answers be its own.
            reduce_range=True,
            # A product's sum stays float32: it enters a norm, GELU or the residual.
            extra_options={"OpTypesToExcludeOutputQuantization": ["MatMul"]},
        )
        return written.read_bytes()


def _weighted_products(model: ModelProto) -> list[str]:
    """Return the names of the products of tokens with weights.

    A filter's matrices are first operands of their products, an MLP's weights second; heads and
    gates are `Gemm`.
    """
    constants = {tensor.name for tensor in model.graph.initializer}
    return [
        node.name
        for node in model.graph.node
        if node.op_type == "MatMul" and node.input[1] in constants
    ]


class _Entering:
    """What enters a stage, in batches, as the quantiser reads it.

    Args:
        stage: on the CPU.
        images: (B, 3, H, W).
    """

    def __init__(self, stage: Stage, images: Tensor) -> None:
        self._batches = self._enter(stage, images)

    def get_next(self) -> dict[str, Any] | None:
        """Return the next input by name; None after the last."""
        return next(self._batches, None)

    @staticmethod
    @torch.inference_mode()
    def _enter(stage: Stage, images: Tensor) -> Iterator[dict[str, Any]]:
        before = Stage(stage.model, 0, stage.first - 1) if stage.first else None
        for batch in torch.split(images, _BATCH):
            entering = before(batch)[0] if before else batch
            # The quantiser passes over NaN.
            if not all(bool(leaving.isfinite().all()) for leaving in stage(entering)):
                raise UnavailableError(
                    "int8 takes its ranges from calibration images, and an activation of one is"
                    " infinite or NaN"
                )
            yield {ENTERING: entering.numpy()}
