"""Bounds the memory of a graph before it is run: the size of each of its values for one image."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from gfnet.bundle.errors import first_line, shortened

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, ValueInfoProto

MAX_VALUE_NUMBERS = 2**26
"""Of one value within a graph, per image: 256 MiB in float32."""

MAX_ALL_NUMBERS = 2**31
"""Of all values together, per image; most of them share memory."""

_KEPT_NUMBERS = 4096
"""Constants up to this size can be shapes, which the inference reads."""


def size_problems(model: ModelProto) -> Iterator[str]:
    """Yield values whose size is too large, or does not follow from that of the inputs.

    A few nodes can double a tensor as often as they like; so each size must be known beforehand.

    Args:
        model: parsed and checked; its shapes and weights are dropped.
    """
    import onnx

    _fix_batch(model.graph)
    for graph in _graphs(model.graph):
        # What a file says of the values within may be wrong: it is inferred anew.
        del graph.value_info[:]
        for tensor in graph.initializer:
            if math.prod(tensor.dims) > _KEPT_NUMBERS:
                tensor.ClearField("raw_data")
    try:
        inferred = onnx.shape_inference.infer_shapes(
            model, check_type=True, strict_mode=True, data_prop=True
        )
    except (onnx.shape_inference.InferenceError, ValueError, RuntimeError) as err:
        yield f"its shapes contradict each other: {first_line(err)}"
        return
    total = 0
    for graph in _graphs(inferred.graph):
        sizes = {value.name: _numbers(value) for value in (*graph.value_info, *graph.output)}
        for node in graph.node:
            for name in filter(None, node.output):
                if (numbers := sizes.get(name)) is None:
                    yield (
                        f"the size of {shortened(name)}, from {shortened(node.op_type)}, does not"
                        " follow from the size of the inputs: export with fixed sizes"
                    )
                    return
                total += numbers
                if numbers > MAX_VALUE_NUMBERS or total > MAX_ALL_NUMBERS:
                    yield (
                        f"{shortened(name)} has {numbers:,} values per image, {total:,} with those"
                        f" before it; allowed: {MAX_VALUE_NUMBERS:,} and {MAX_ALL_NUMBERS:,}"
                    )
                    return


def _fix_batch(graph: GraphProto) -> None:
    """Let the graph take one image."""
    for value in graph.input:
        for size in value.type.tensor_type.shape.dim:
            if not size.HasField("dim_value"):
                size.dim_value = 1
    for value in graph.output:
        for size in value.type.tensor_type.shape.dim:
            size.ClearField("dim_param")


def _graphs(graph: GraphProto) -> Iterator[GraphProto]:
    """Yield a graph and those of its branches."""
    waiting = [graph]
    while waiting:
        part = waiting.pop()
        yield part
        waiting.extend(
            each.g for node in part.node for each in node.attribute if each.HasField("g")
        )


def _numbers(value: ValueInfoProto) -> int | None:
    """Return how many numbers a value has; None if a size is not known."""
    kind = value.type.tensor_type
    if not kind.HasField("shape"):
        return None
    if not all(size.HasField("dim_value") for size in kind.shape.dim):
        return None
    return math.prod(int(size.dim_value) for size in kind.shape.dim)
