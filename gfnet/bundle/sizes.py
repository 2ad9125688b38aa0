"""Bounds the memory of a graph before it is run: the size of each of its values for one image."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from gfnet.bundle.errors import library_message, shortened

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, TensorShapeProto, ValueInfoProto

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

    for graph in _graphs(model.graph):
        # What a file says of the values within may be wrong: it is inferred anew.
        del graph.value_info[:]
        for tensor in graph.initializer:
            if math.prod(tensor.dims) > _KEPT_NUMBERS:
                tensor.ClearField("raw_data")
    free = [sizes[0] for value in model.graph.input if (sizes := _free_sizes(value))]
    for value in model.graph.output:
        for size in _free_sizes(value):
            size.ClearField("dim_param")
    try:
        one = _inferred(model, free, 1)
        yield from _unbounded(one)
        two = _inferred(model, free, 2) if free else one
    except (onnx.shape_inference.InferenceError, RuntimeError, ValueError) as err:
        yield f"its shapes contradict each other: {library_message(err)}"
        return
    for name, numbers in two.items():
        if numbers is None or numbers > 2 * (one.get(name) or 0):
            yield (
                f"{shortened(name)} grows faster than the number of images; each image must be"
                " computed by itself"
            )
            return


def _inferred(
    model: ModelProto, free: Sequence[TensorShapeProto.Dimension], images: int
) -> dict[str, int | None]:
    """Return how many numbers each value has for a number of images; None: not known."""
    import onnx

    for size in free:
        size.dim_value = images
    inferred = onnx.shape_inference.infer_shapes(
        model, check_type=True, strict_mode=True, data_prop=True
    )
    found: dict[str, int | None] = {}
    for graph in _graphs(inferred.graph):
        sizes = {value.name: _numbers(value) for value in (*graph.value_info, *graph.output)}
        names = (name for node in graph.node for name in node.output if name)
        found |= {name: sizes.get(name) for name in names}
    return found


def _unbounded(sizes: Mapping[str, int | None]) -> Iterator[str]:
    total = 0
    for name, numbers in sizes.items():
        if numbers is None:
            yield (
                f"the size of {shortened(name)} does not follow from the size of the inputs;"
                " export with fixed sizes"
            )
            return
        total += numbers
        if numbers > MAX_VALUE_NUMBERS or total > MAX_ALL_NUMBERS:
            yield (
                f"{shortened(name)} has {numbers:,} values per image, {total:,} with those before"
                f" it; allowed: {MAX_VALUE_NUMBERS:,} and {MAX_ALL_NUMBERS:,}"
            )
            return


def _free_sizes(value: ValueInfoProto) -> list[TensorShapeProto.Dimension]:
    """Return the sizes that are no number: that of the batch."""
    sizes = value.type.tensor_type.shape.dim
    return [size for size in sizes if not size.HasField("dim_value")]


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
