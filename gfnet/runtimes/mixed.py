"""Which operations of an OpenVINO graph stay float32 when the rest is bfloat16.

In bfloat16 the products with large weights gain; the rest, by OpenVINO's own choice, is turned back
and forth between both precisions around each small product of a filter, which costs more than it
gains. Norms and gates shall be float32 anyway.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

_BOUNDS = ("MatMul", "Convolution", "MVN")
_NO_PRECISION = ("Constant", "Parameter", "Result")


def with_float32_kept(core: Any, graph: Any) -> Any:
    """Mark all but the products with weights, and what stands between two of them, as float32.

    OpenVINO has such a mark for what is written in a graph's file, and none that Python could set
    (2026.4): so the graph is written, marked and read again.

    Args:
        core: OpenVINO.
        graph: of a stage; left as it is.
    """
    import numpy as np
    import openvino as ov

    half = _in_half(graph)
    with tempfile.TemporaryDirectory() as folder:
        written, weights = Path(folder) / "graph.xml", Path(folder) / "graph.bin"
        ov.serialize(graph, written, weights)
        root = ET.parse(written).getroot()  # noqa: S314 - as above
        values = ov.Tensor(np.fromfile(weights, np.uint8))
    for layer in root.iter("layer"):
        if layer.get("name") not in half and layer.get("type") not in _NO_PRECISION:
            _mark(layer)
    return core.read_model(ET.tostring(root), values)


def _mark(layer: ET.Element) -> None:
    """Say that a layer keeps its precision; where its other such remarks are, or after its data."""
    remarks = layer.find("rt_info")
    if remarks is None:
        remarks = ET.Element("rt_info")
        layer.insert(1 if layer.find("data") is not None else 0, remarks)
    ET.SubElement(remarks, "attribute", name="precise", version="0")


def _in_half(graph: Any) -> set[str]:
    """Names of products with weights, and of what lies between two of them: bias and GELU."""
    weighted = [node for node in graph.get_ordered_ops() if _has_weights(node)]
    between = _reached(weighted, _consumers) & _reached(weighted, _producers)
    return between | {node.get_friendly_name() for node in weighted}


def _has_weights(node: Any) -> bool:
    """A filter's matrices come first in their products, an MLP's second."""
    kind = node.get_type_name()
    if kind == "MatMul":
        return bool(node.input_value(1).get_node().get_type_name() == "Constant")
    return bool(kind == "Convolution")


def _consumers(node: Any) -> list[Any]:
    inputs = (each for output in node.outputs() for each in output.get_target_inputs())
    return [each.get_node() for each in inputs]


def _producers(node: Any) -> list[Any]:
    return [each.get_source_output().get_node() for each in node.inputs()]


def _reached(starts: Iterable[Any], neighbours: Callable[[Any], list[Any]]) -> set[str]:
    """Names of all nodes that are reached without passing a norm or another product."""
    seen: set[str] = set()
    waiting = list(starts)
    while waiting:
        for node in neighbours(waiting.pop()):
            name = node.get_friendly_name()
            if node.get_type_name() not in _BOUNDS and name not in seen:
                seen.add(name)
                waiting.append(node)
    return seen
