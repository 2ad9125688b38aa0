"""Finds weights that are not finite, also in the bytes of a file without torch.

A model computes in float32, so a number that float32 cannot hold counts as infinite.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gfnet.tensors import Buffer, listed, parse_json

if TYPE_CHECKING:
    from torch import Tensor

Weights = Iterable[tuple[str, NDArray[np.float32]]]
"""Names of tensors with their numbers."""


def check_finite(weights: Weights) -> None:
    """Raise if any weight is NaN or infinite.

    Raises:
        ValueError: names each such tensor, and how many of its values are NaN or infinite.
    """
    found = [
        f"{name} ({_counted(numbers)})"
        for name, numbers in weights
        if not np.isfinite(numbers).all()
    ]
    if found:
        raise ValueError(
            f"it has weights that are not finite: {listed(found)}. The training that made them"
            " diverged, or the file was damaged: take an earlier checkpoint, or train again with a"
            " lower learning_rate"
        )


def weights_of_file(data: Buffer) -> Weights:
    """Yield the weights of a safetensors file whose header was verified."""
    (length,) = struct.unpack("<Q", data[:8])
    content = memoryview(data)[8 + length :]
    for name, entry in parse_json(bytes(data[8 : 8 + length])).items():
        if name != "__metadata__":
            begin, end = entry["data_offsets"]
            yield name, _as_float32(content[begin:end], entry["dtype"])


def weights_of_state(state: Mapping[str, Tensor]) -> Weights:
    """Yield the weights of a state dict."""
    for name, tensor in state.items():
        yield name, tensor.detach().cpu().float().numpy()


def _as_float32(content: memoryview, kind: str) -> NDArray[np.float32]:
    """Convert bytes of a safetensors file to float32; `kind` is the file's name of their type."""
    if kind == "BF16":  # the upper half of a float32
        return (np.frombuffer(content, "<u2").astype("<u4") << 16).view("<f4")
    numbers = np.frombuffer(content, {"F64": "<f8", "F32": "<f4", "F16": "<f2"}[kind])
    with np.errstate(over="ignore"):
        return numbers.astype(np.float32, copy=False)


def _counted(numbers: NDArray[np.float32]) -> str:
    counts = {"NaN": np.isnan(numbers).sum(), "infinite": np.isinf(numbers).sum()}
    said = ", ".join(f"{count:,} {what}" for what, count in counts.items() if count)
    return f"{said} of {numbers.size:,}"
