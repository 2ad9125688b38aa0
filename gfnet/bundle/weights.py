"""Tensors within ONNX graphs: which types they may have, and that they hold what they claim."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from gfnet.bundle.errors import shortened

if TYPE_CHECKING:
    from onnx import TensorProto

DTYPES = {
    1: "float32",
    2: "uint8",
    3: "int8",
    4: "uint16",
    5: "int16",
    6: "int32",
    7: "int64",
    9: "bool",
    10: "float16",
    11: "float64",
    12: "uint32",
    13: "uint64",
    16: "bfloat16",
}
"""Types of tensors within graphs, by their number in `onnx.TensorProto.DataType`."""

_BYTES = {"bool": 1, "bfloat16": 2} | {
    f"{kind}{8 * size}": size for kind in ("int", "uint", "float") for size in (1, 2, 4, 8)
}
_MAX_AXES = 8
_FIELDS = {"float32": "float_data", "int64": "int64_data", "float64": "double_data"}
_FIELDS |= dict.fromkeys(("uint32", "uint64"), "uint64_data")
_OTHERS = "int32_data"


def check_tensor(tensor: TensorProto) -> Iterator[str]:
    """Yield what is wrong with a constant of a graph."""
    name = f"tensor {shortened(tensor.name)}"
    if tensor.data_location or tensor.external_data:
        yield f"{name} lies in another file; save all weights in the graph itself"
        return
    dtype = DTYPES.get(tensor.data_type)
    if dtype is None:
        yield f"{name} has type {tensor.data_type}; allowed: {', '.join(DTYPES.values())}"
        return
    if len(tensor.dims) > _MAX_AXES or any(size < 0 for size in tensor.dims):
        yield f"{name} has an impossible shape, {shortened(list(tensor.dims))}"
        return
    numbers = math.prod(tensor.dims)
    if tensor.HasField("raw_data"):
        found, wanted = len(tensor.raw_data), numbers * _BYTES[dtype]
    else:
        found, wanted = len(getattr(tensor, _FIELDS.get(dtype, _OTHERS))), numbers
    if found != wanted or tensor.HasField("segment"):
        yield f"{name} holds {found:,} of the {wanted:,} that its shape {list(tensor.dims)} claims"
