"""Unsupported combinations of kind, runtime, precision and device, known before anything runs."""

from __future__ import annotations

import storage
from gfnet.runtimes.availability import impossible
from jobs.machine.devices import CPU, CUDA

REFERENCE = ("torch", "float32")
"""Runtime and precision of the model itself, which other engines are compared with."""


def explain_skip(kind: str, runtime: str, precision: str, device: str) -> str | None:
    """Why a cell cannot run on any installation; None if it might run on one.

    The worker finds out which packages its node has. Loads no torch.

    Args:
        kind: of the cell.
        runtime: as in the grid.
        precision: as in the grid.
        device: as in the grid; for one that is not resolved yet, such as `any`, only reasons that
            hold on every device are found.
    """
    if reason := impossible(runtime, precision, device if device in (CPU, CUDA) else None):
        return reason
    if storage.KINDS[kind].needs_reference and (runtime, precision) != REFERENCE:
        return (
            f"a profile can time the parts of runtime {' in '.join(REFERENCE)} only; other engines"
            " divide the model into parts of their own"
        )
    return None
