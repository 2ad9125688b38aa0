"""A bundle of a few bytes, written by hand with onnx alone: two stages, two tensors between them.

Stage 0 takes (B, 3, 2, 2), and gives four features, their number that is positive, three logits and
a score; stage 1 takes both. What they compute is written once more in numpy.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

OPSET = 17
_RANDOM = np.random.default_rng(5)
WEIGHTS = {
    name: _RANDOM.standard_normal(shape).astype(np.float32)
    for name, shape in (("project", (12, 4)), ("head", (4, 3)), ("last", (4, 3)))
}
_FLOAT, _INT = TensorProto.FLOAT, TensorProto.INT64


def expected(images: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Logits of both exits, and the scores of the first."""
    features = np.maximum(images.reshape(len(images), 12) @ WEIGHTS["project"], 0)
    count = (features > 0).sum(axis=1, keepdims=True).astype(np.float32)
    logits = features @ WEIGHTS["head"]
    return logits, (features + count) @ WEIGHTS["last"], 1 / (1 + np.exp(-logits.max(axis=1)))


def value(name: str, *shape: int | str, kind: int = _FLOAT) -> onnx.ValueInfoProto:
    """An input or output of a graph."""
    return helper.make_tensor_value_info(name, kind, shape)


def graph(
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    **weights: NDArray[Any],
) -> onnx.ModelProto:
    """A model of the opset."""
    constants = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    made = helper.make_graph(nodes, "g", inputs, outputs, constants)
    imports = [helper.make_opsetid("", OPSET)]
    return helper.make_model(made, opset_imports=imports, ir_version=8)


def first_stage() -> onnx.ModelProto:
    """From the image to the first exit."""
    return graph(
        [
            helper.make_node("Flatten", ["image"], ["flat"]),
            helper.make_node("MatMul", ["flat", "project"], ["projected"]),
            helper.make_node("Relu", ["projected"], ["features"]),
            helper.make_node("Sign", ["features"], ["signs"]),
            helper.make_node("ReduceSum", ["signs", "axis"], ["positive"], keepdims=1),
            helper.make_node("Cast", ["positive"], ["count"], to=_INT),
            helper.make_node("MatMul", ["features", "head"], ["logits"]),
            helper.make_node("ReduceMax", ["logits"], ["largest"], axes=[1], keepdims=0),
            helper.make_node("Sigmoid", ["largest"], ["score"]),
        ],
        [value("image", "n", 3, 2, 2)],
        [
            value("features", "n", 4),
            value("count", "n", 1, kind=_INT),
            value("logits", "n", 3),
            value("score", "n"),
        ],
        project=WEIGHTS["project"],
        head=WEIGHTS["head"],
        axis=np.array([1]),
    )


def last_stage() -> onnx.ModelProto:
    """From the first exit to the last."""
    return graph(
        [
            helper.make_node("Cast", ["number"], ["floating"], to=_FLOAT),
            helper.make_node("Add", ["taken", "floating"], ["sum"]),
            helper.make_node("MatMul", ["sum", "last"], ["logits"]),
        ],
        [value("taken", "n", 4), value("number", "n", 1, kind=_INT)],
        [value("logits", "n", 3)],
        last=WEIGHTS["last"],
    )


def quantised_last_stage() -> onnx.ModelProto:
    """The same in int8: one scale per class, and one of the sums."""
    scales = np.abs(WEIGHTS["last"]).max(axis=0) / 64
    return graph(
        [
            helper.make_node("Cast", ["number"], ["floating"], to=_FLOAT),
            helper.make_node("Add", ["taken", "floating"], ["sum"]),
            helper.make_node("QuantizeLinear", ["sum", "step", "zero"], ["steps"]),
            helper.make_node("DequantizeLinear", ["steps", "step", "zero"], ["rounded"]),
            helper.make_node("DequantizeLinear", ["last", "scales", "zeros"], ["weights"], axis=1),
            helper.make_node("MatMul", ["rounded", "weights"], ["logits"]),
        ],
        [value("taken", "n", 4), value("number", "n", 1, kind=_INT)],
        [value("logits", "n", 3)],
        last=np.round(WEIGHTS["last"] / scales).astype(np.int8),
        scales=scales,
        zeros=np.zeros(3, np.int8),
        step=np.array(0.05, np.float32),
        zero=np.array(7, np.uint8),
    )


def manifest(graphs: Mapping[str, bytes]) -> dict[str, Any]:
    """The manifest of both stages, as plain JSON."""

    def tensor(name: str, *shape: int, dtype: str = "float32") -> dict[str, Any]:
        return {"name": name, "dtype": dtype, "shape": ["batch", *shape]}

    def stage(file: str, exit_block: int, **parts: Any) -> dict[str, Any]:
        digest = hashlib.sha256(graphs[file]).hexdigest()
        return {"file": file, "sha256": digest, "exit_block": exit_block, **parts}

    return {
        "format": 1,
        "name": "tiny",
        "preprocessing": {
            "size": 2,
            "crop": 2,
            "interpolation": "bilinear",
            "mean": [0.5, 0.5, 0.5],
            "std": [0.25, 0.25, 0.25],
        },
        "classes": 3,
        "class_names": ["a", "b", "c"],
        "exit_rule": "gate",
        "thresholds": [0.7],
        "precision": "float32",
        "opset": OPSET,
        "stages": [
            stage(
                "stage_0.onnx",
                2,
                inputs=[tensor("image", 3, 2, 2)],
                state=[tensor("features", 4), tensor("count", 1, dtype="int64")],
                logits=tensor("logits", 3),
                score=tensor("score"),
                multiply_adds=60,
            ),
            stage(
                "stage_1.onnx",
                5,
                inputs=[tensor("taken", 4), tensor("number", 1, dtype="int64")],
                state=[],
                logits=tensor("logits", 3),
            ),
        ],
    }


def files(
    graphs: Mapping[str, onnx.ModelProto | bytes] | None = None, **changes: Any
) -> dict[str, bytes]:
    """The files of a bundle, with right digests.

    Args:
        graphs: other graphs than the two, by file.
        changes: of the manifest.
    """
    models = {"stage_0.onnx": first_stage(), "stage_1.onnx": last_stage()} | dict(graphs or {})
    contents = {
        name: model if isinstance(model, bytes) else model.SerializeToString()
        for name, model in models.items()
    }
    text = json.dumps(manifest(contents) | changes).encode()
    return {"manifest.json": text} | contents


def write(folder: Path, contents: Mapping[str, bytes]) -> Path:
    """The files in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return folder


def write_images(folder: Path, each: int) -> None:
    """Images of noise, 2 x 2 pixels, in a folder per class: `imagefolder:` of the tiny bundle."""
    random = np.random.default_rng(0)
    for name in "abc":
        (folder / "test" / name).mkdir(parents=True)
        for number in range(each):
            pixels = random.integers(0, 256, (2, 2, 3), np.uint8)
            Image.fromarray(pixels).save(folder / "test" / name / f"{number}.png")


def zipped(contents: Mapping[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    """A zip as another program makes it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return buffer.getvalue()
