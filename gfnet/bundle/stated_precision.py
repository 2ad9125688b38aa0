"""Holds a bundle's graphs to the precision that its manifest states.

A figure is stored under that precision, so a graph that computes in another one would mislabel it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnx import GraphProto, NodeProto

_CONVERTS = ("Cast", "CastLike")
_INT8 = "int8"
_QUANTISES = ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear")


def lower_precisions(graph: GraphProto) -> frozenset[str]:
    """Return the precisions below float32 that a graph computes in, in its branches too."""
    return frozenset(_found(graph))


def precision_problem(found: frozenset[str], stated: str) -> str | None:
    """Return how a bundle's graphs contradict its manifest; None if they do not.

    Args:
        found: precisions below float32, of all graphs.
        stated: by the manifest.
    """
    if stated == "float32" and found:
        return f"precision is float32, but its graphs compute in {', '.join(sorted(found))}"
    if stated != "float32" and stated not in found:
        have = ", ".join(sorted(found)) or "float32 alone"
        return f"precision is {stated}, but its graphs compute in {have}"
    return None


def _found(graph: GraphProto) -> Iterator[str]:
    from onnx import TensorProto

    halves = {TensorProto.FLOAT16: "float16", TensorProto.BFLOAT16: "bfloat16"}
    types = [tensor.data_type for tensor in graph.initializer]
    for node in graph.node:
        if node.op_type in _QUANTISES:
            yield _INT8
        types += _types(node)
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _found(attribute.g)
    yield from (halves[each] for each in types if each in halves)


def _types(node: NodeProto) -> Iterator[int]:
    """Yield the types of a node's constants, and of what it converts to."""
    for attribute in node.attribute:
        if attribute.HasField("t"):
            yield attribute.t.data_type
        if node.op_type in _CONVERTS and attribute.name == "to":
            yield attribute.i
