"""Unsupported combinations of kind, runtime, precision and device, known before anything runs."""

from __future__ import annotations

import storage
from gfnet.bundle.support import impossible_for_bundle
from gfnet.runtimes.availability import impossible
from jobs.machine.devices import CPU, CUDA

REFERENCE = ("torch", "float32")
"""Runtime and precision of the model itself, which other engines are compared with."""


def explain_skip(
    kind: str, runtime: str, precision: str, device: str, graph_precision: str | None = None
) -> str | None:
    """Why a cell cannot run on any installation; None if it might run on one.

    The worker finds out which packages its node has. Loads no torch.

    Args:
        kind: of the cell.
        runtime: as in the grid.
        precision: as in the grid.
        device: as in the grid; for one that is not resolved yet, such as `any`, only reasons that
            hold on every device are found.
        graph_precision: of its graphs, if the model is a bundle; None for a checkpoint.
    """
    where = device if device in (CPU, CUDA) else None
    reason = (
        impossible_for_bundle(runtime, precision, where, graph_precision)
        if graph_precision
        else impossible(runtime, precision, where)
    )
    if reason:
        return reason
    is_divided = graph_precision is not None  # into stages, by any engine
    needs_reference = storage.KINDS[kind].needs_reference and not is_divided
    if needs_reference and (runtime, precision) != REFERENCE:
        return (
            f"a profile can time the parts of runtime {' in '.join(REFERENCE)} only; other engines"
            " divide the model into parts of their own"
        )
    return None
