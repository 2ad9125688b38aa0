"""Graphs in int8: what is quantised and what is not, over which ranges, and what they answer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from support import engines
from torch import Tensor, nn

import gfnet
from gfnet.runtimes.exported import single_onnx, to_onnx
from gfnet.runtimes.int8 import CalibrationImages, int8_graphs
from gfnet.runtimes.onnx import _HIDES_INT8
from gfnet.runtimes.onnxruntime_module import load_onnxruntime
from gfnet.runtimes.stages import Stage, cut, with_matrix_filters

LOWEST, HIGHEST = -64, 64
"""Of a weight in seven bits."""


@pytest.fixture(scope="module")
def model() -> gfnet.GFNet:
    """Two stages of one block each; its first graph is exported, which loads what exports."""
    model = engines.with_exits(2)
    to_onnx(cut(with_matrix_filters(model))[-1])
    return model


@pytest.fixture(scope="module")
def stages(model: gfnet.GFNet) -> list[Stage]:
    """Of the model."""
    return cut(with_matrix_filters(model))


@pytest.fixture(scope="module")
def calibration(model: gfnet.GFNet) -> CalibrationImages:
    """Noise."""
    return engines.calibrated_on(model)


@pytest.fixture(scope="module")
def graphs(stages: list[Stage], calibration: CalibrationImages) -> list[onnx.ModelProto]:
    """Of the stages."""
    make = int8_graphs(calibration)
    return [onnx.load_model_from_string(make(stage)) for stage in stages]


def _constants(graph: onnx.GraphProto) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}


def test_the_products_of_the_mlps_are_int8_and_nothing_else(
    graphs: list[onnx.ModelProto], stages: list[Stage]
) -> None:
    """Two per block. Filters, norms, gates, heads and the embedding take what is not quantised."""
    for stage, model in zip(stages, graphs, strict=True):
        made_by = {name: node for node in model.graph.node for name in node.output}
        quantised = [
            node
            for node in model.graph.node
            if any(
                name in made_by and made_by[name].op_type == "DequantizeLinear"
                for name in node.input
            )
        ]
        assert [node.op_type for node in quantised] == ["MatMul"] * 2 * (
            stage.last - stage.first + 1
        )
        for node in quantised:
            assert [made_by[name].op_type for name in node.input] == ["DequantizeLinear"] * 2
        others = [node for node in model.graph.node if node.op_type == "MatMul"]
        assert len(others) > len(quantised), "those of the filters"
        plain = onnx.load_model_from_string(to_onnx(stage)).graph
        kept = [node.op_type for node in model.graph.node if "Quantize" not in node.op_type]
        kept = [kind for kind in kept if kind != "DequantizeLinear"]
        assert sorted(kept) == sorted(node.op_type for node in plain.node)


def test_weights_have_seven_bits_and_a_scale_per_channel(graphs: list[onnx.ModelProto]) -> None:
    """So that no sum of two products overflows 16 bits on a processor that adds them in these."""
    for model in graphs:
        constants = _constants(model.graph)
        weights = {
            name: value
            for name, value in constants.items()
            if value.dtype == np.int8 and value.ndim == 2
        }
        assert len(weights) == 2
        for name, value in weights.items():
            assert LOWEST <= value.min() <= value.max() <= HIGHEST
            (node,) = [node for node in model.graph.node if name in node.input]
            scale = constants[node.input[1]]
            assert scale.shape == (value.shape[1],)
            assert np.abs(value).max(axis=0).tolist() == [HIGHEST] * value.shape[1]
    most = 2 * 255 * HIGHEST
    assert most < 2**15


def test_onnx_runtime_runs_the_products_in_int8(
    stages: list[Stage], calibration: CalibrationImages, tmp_path: Path
) -> None:
    """For one image too, where an optimisation of its own would take them away from it."""
    ort = load_onnxruntime()
    for graph_of in (to_onnx, int8_graphs(calibration)):
        for left_out in ((), _HIDES_INT8):
            options = ort.SessionOptions()
            options.log_severity_level = 3
            options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
            ort.InferenceSession(
                single_onnx(stages[0], graph_of),
                options,
                providers=["CPUExecutionProvider"],
                disabled_optimizers=list(left_out) or None,
            )
            nodes = onnx.load(tmp_path / "optimised.onnx").graph.node
            fused = sum(node.op_type == "MatMulIntegerToFloat" for node in nodes)
            is_left = any(node.op_type == "DequantizeLinear" for node in nodes)
            if left_out and graph_of is not to_onnx:
                assert (fused, is_left) == (2, False)
            else:
                assert fused == 0


def test_a_range_is_what_the_calibration_images_show(
    graphs: list[onnx.ModelProto], stages: list[Stage], calibration: CalibrationImages
) -> None:
    """At each stage over all images, also those that a gate would have let go before it."""
    model = stages[0].model
    ranges = _ranges(model, calibration.read())
    scales = [scale for graph in graphs for scale in _activation_scales(graph.graph)]
    expected = [(ranges[layer][1] - ranges[layer][0]) / 255 for layer in _layers(model)]
    assert scales == pytest.approx(expected, rel=1e-5)


def _activation_scales(graph: onnx.GraphProto) -> list[float]:
    constants = _constants(graph)
    return [
        float(constants[node.input[1]])
        for node in graph.node
        if node.op_type == "QuantizeLinear" and constants[node.input[2]].dtype == np.uint8
    ]


class _Rounded(nn.Module):
    """A linear layer that rounds as int8 does: written by hand from the ranges."""

    def __init__(self, layer: nn.Linear, lowest: float, highest: float) -> None:
        super().__init__()
        weight = layer.weight.detach().double()
        scale = weight.abs().amax(dim=1, keepdim=True) / HIGHEST
        self.weight = (weight / scale).round().clamp(LOWEST, HIGHEST) * scale
        self.bias = layer.bias.detach().double()
        self.scale = (highest - lowest) / 255
        self.zero = round(-lowest / self.scale)

    def forward(self, given: Tensor) -> Tensor:
        steps = (given.double() / self.scale).round() + self.zero
        rounded = (steps.clamp(0, 255) - self.zero) * self.scale
        return (rounded @ self.weight.T + self.bias).float()


@pytest.mark.parametrize("name", ["onnx", "openvino"])
def test_answers_are_those_of_rounding_by_hand(
    model: gfnet.GFNet, calibration: CalibrationImages, name: str
) -> None:
    """In double precision; a value on the border of two steps may be rounded to either."""
    engine = gfnet.runtime(name, model, threads=1, precision="int8", calibration=calibration)
    by_hand = with_matrix_filters(model)
    given = _ranges(by_hand, calibration.read())
    for block in by_hand.numbered_blocks():
        for layer in ("fc1", "fc2"):
            was = getattr(block.mlp, layer)
            setattr(block.mlp, layer, _Rounded(was, *given[was]))
    images = calibration.read()[:16]
    with torch.inference_mode():
        found, expected = engine.forward_exits(images), by_hand.forward_exits(images)
        exact = model.forward_exits(images)
    near = (found.logits - expected.logits).abs()
    far = (exact.logits - expected.logits).abs()
    assert float(near.mean()) < 0.1 * float(far.mean()), "nearer to int8 than to float32"
    assert float(near.max()) < float(far.max())


def _layers(model: gfnet.GFNet) -> list[nn.Linear]:
    return [layer for block in model.numbered_blocks() for layer in (block.mlp.fc1, block.mlp.fc2)]


def _ranges(model: gfnet.GFNet, images: Tensor) -> dict[nn.Module, tuple[float, float]]:
    """The lowest and the highest value that enters each layer; 0 is always among them."""
    found: dict[nn.Module, tuple[float, float]] = {}

    def note(module: nn.Module, given: tuple[Tensor, ...]) -> None:
        found[module] = min(float(given[0].min()), 0.0), max(float(given[0].max()), 0.0)

    hooks = [layer.register_forward_pre_hook(note) for layer in _layers(model)]
    with torch.inference_mode():
        model.forward_exits(images)
    for hook in hooks:
        hook.remove()
    return found


@pytest.fixture
def read_times(calibration: CalibrationImages) -> tuple[CalibrationImages, list[int]]:
    """The calibration, and how often it was read."""
    times: list[int] = []

    def encoded() -> Sequence[bytes | None]:
        times.append(1)
        return calibration.encoded()

    return replace(calibration, encoded=encoded), times


def test_images_are_read_once_per_host(
    stages: list[Stage],
    read_times: tuple[CalibrationImages, list[int]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The graph is kept under the images' name; others, or other sizes of them, make another."""
    monkeypatch.setenv("GFJOBS_CACHE", str(tmp_path))
    calibration, times = read_times
    first = int8_graphs(calibration)(stages[0])
    assert (int8_graphs(calibration)(stages[0]), len(times)) == (first, 1)
    fewer = replace(calibration, name="fewer", encoded=lambda: calibration.encoded()[:2])
    assert int8_graphs(fewer)(stages[0]) != first
    darker = replace(calibration.preprocessing, mean=(0.9, 0.9, 0.9))
    assert int8_graphs(replace(calibration, preprocessing=darker))(stages[0]) != first


def test_an_image_that_cannot_be_decoded_is_refused(
    stages: list[Stage], calibration: CalibrationImages
) -> None:
    """Fewer images than were asked for would be another calibration."""
    broken = replace(calibration, name="broken", encoded=lambda: [b"broken"])
    with pytest.raises(gfnet.DecodeError, match="a calibration image cannot be decoded: not an"):
        int8_graphs(broken)(stages[0])


@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_an_activation_that_is_not_finite_has_no_range(
    calibration: CalibrationImages, value: float
) -> None:
    """In int8 the largest number would stand for it, and nobody would see that it was lost."""
    broken = engines.with_exits(2)
    with torch.no_grad():
        broken.blocks[0].mlp.fc1.bias[0] = value
    with pytest.raises(gfnet.UnavailableError, match="an activation of one is infinite or NaN"):
        gfnet.runtime("onnx", broken, threads=1, precision="int8", calibration=calibration)


@pytest.mark.parametrize("precision", ["int8", "float32"])
def test_int8_and_its_calibration_go_together(
    model: gfnet.GFNet, calibration: CalibrationImages, precision: str
) -> None:
    """Neither is silently ignored."""
    given = None if precision == "int8" else calibration
    with pytest.raises(ValueError, match="calibration images belong to int8"):
        gfnet.runtime("onnx", model, precision=precision, calibration=given)
