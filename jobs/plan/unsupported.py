"""Unsupported combinations of kind, runtime, precision and device, known before anything runs."""

from __future__ import annotations

import storage
from gfnet.runtimes import impossible
from jobs.machine.devices import CPU, CUDA

REFERENCE = ("torch", "float32")
"""Runtime and precision of the model itself, which other engines are held against."""


def explain_skip(kind: str, runtime: str, precision: str, device: str) -> str | None:
    """Why no installation would let such a cell run; None where one might.

    What packages a node has is the worker's to find out. Loads no torch.

    Args:
        kind: of the cell.
        runtime: as in the grid.
        precision: as in the grid.
        device: as in the grid; of one that is not bound to a kind yet, such as `any`, only what
            holds on every device is known.
    """
    if reason := impossible(runtime, precision, device if device in (CPU, CUDA) else None):
        return reason
    if storage.KINDS[kind].needs_reference and (runtime, precision) != REFERENCE:
        return (
            f"a profile has clocks inside runtime {' in '.join(REFERENCE)} alone; other engines"
            " compute in parts of their own"
        )
    return None
