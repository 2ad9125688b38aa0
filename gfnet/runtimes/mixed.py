"""Chooses which operations of an OpenVINO graph stay float32 when the rest is bfloat16.

Products with large weights are faster in bfloat16. For the rest, OpenVINO's own choice converts
between both precisions around each small product of a filter, which costs more than it gains.
Norms and gates must be float32 anyway.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree as ET

_BOUNDS = ("MatMul", "Convolution", "MVN")
_NO_PRECISION = ("Const", "Parameter", "Result", "If")

Neighbours = Mapping[str, list[str]]
"""Numbers of adjacent layers, by the number of a layer."""


class _Scope(NamedTuple):
    """A graph, or the graph of a branch in it: layers by number, and their connections."""

    layers: Mapping[str, ET.Element]
    producers: Neighbours
    consumers: Neighbours
    weighted: frozenset[str]


def with_float32_kept(core: Any, graph: Any) -> Any:
    """Mark layers as float32, except products with weights and the layers between two of them.

    OpenVINO reads such marks from a graph's file, but Python cannot set them (2026.4): so the graph
    is written, marked and read again.

    Args:
        core: OpenVINO's core.
        graph: of a model; not changed.
    """
    import numpy as np
    import openvino as ov

    with tempfile.TemporaryDirectory() as folder:
        written, weights = Path(folder) / "graph.xml", Path(folder) / "graph.bin"
        ov.serialize(graph, written, weights)
        root = ET.parse(written).getroot()  # noqa: S314 - written above
        values = ov.Tensor(np.fromfile(weights, np.uint8))
    for element in root.iter():
        if element.find("layers") is not None:
            _mark_all(_scope(element))
    return core.read_model(ET.tostring(root), values)


def _scope(element: ET.Element) -> _Scope:
    layers = {layer.attrib["id"]: layer for layer in element.iterfind("layers/layer")}
    producers: dict[str, list[str]] = {number: [] for number in layers}
    consumers: dict[str, list[str]] = {number: [] for number in layers}
    weighted = {number for number, layer in layers.items() if layer.get("type") == "Convolution"}
    for edge in element.iterfind("edges/edge"):
        source, target = edge.attrib["from-layer"], edge.attrib["to-layer"]
        producers[target].append(source)
        consumers[source].append(target)
        # A filter's matrices are first operands of their products, an MLP's weights second.
        is_second = edge.get("to-port") == "1" and layers[source].get("type") == "Const"
        if is_second and layers[target].get("type") == "MatMul":
            weighted.add(target)
    return _Scope(layers, producers, consumers, frozenset(weighted))


def _mark_all(scope: _Scope) -> None:
    """Mark the layers that stay float32: all but products with weights, their bias and GELU."""
    between = _reached(scope, scope.consumers) & _reached(scope, scope.producers)
    half = scope.weighted | between
    for number, layer in scope.layers.items():
        if number not in half and layer.get("type") not in _NO_PRECISION:
            _mark(layer)


def _mark(layer: ET.Element) -> None:
    """Mark a layer as float32, in its `rt_info`, which is added after `data` if missing."""
    remarks = layer.find("rt_info")
    if remarks is None:
        remarks = ET.Element("rt_info")
        layer.insert(1 if layer.find("data") is not None else 0, remarks)
    ET.SubElement(remarks, "attribute", name="precise", version="0")


def _reached(scope: _Scope, neighbours: Neighbours) -> set[str]:
    """Return the layers that are reached from the products without a norm or another product."""
    seen: set[str] = set()
    waiting: list[str] = list(scope.weighted)
    while waiting:
        for number in neighbours[waiting.pop()]:
            if scope.layers[number].get("type") not in _BOUNDS and number not in seen:
                seen.add(number)
                waiting.append(number)
    return seen
