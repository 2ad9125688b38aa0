"""Data of the page's threshold explorer: all-exit passes, packed without loss.

Scores are the float32 that the router compared, answers one bit per exit and image (right or
wrong), latencies float64: the page then agrees with `at_thresholds` and `composed_latency` to the
last image.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobs.analysis.thresholds.exit_answers import ExitAnswers
from jobs.common.formatting import Row, format_error, format_setting, name_lender
from jobs.report.html.base64_arrays import encode_array
from jobs.report.html.classes import pack_classes
from jobs.report.read import AllExitPass

MOST_BYTES = 8_000_000
"""Limit for all packed passes together: a larger page opens slowly on a phone."""

_STEPS = 1000  # of a slider


def pack_passes(
    passes: Sequence[AllExitPass], most_bytes: int = MOST_BYTES
) -> tuple[list[dict[str, Any]], list[str]]:
    """Pack as many passes as fit, in their order.

    Returns: the data for the page's script, one entry per packed pass; and for each other pass, why
        it is left out.
    """
    packed, left_out, used = [], [], 0
    for each in passes:
        name = f"{each.cell['model']}, {format_setting(each.cell)}{name_lender(each.cell)}"
        if each.answers is None:
            left_out.append(f"{name}: {each.problem}")
            continue
        values = _packed(each, each.answers, name)
        size = _size(values)
        limit = f"the limit of a page is {most_bytes / 1e6:g} MB, with {used / 1e6:.1f} MB used"
        if used + size > most_bytes:
            left_out.append(
                f"{name}: {each.answers.images:,} images take {size / 1e6:.1f} MB; {limit};"
                ' `gfjobs sql "from at_thresholds([...])"` gives the same figures'
            )
            continue
        used += size
        classes = pack_classes(each.classes) if each.classes else None
        if classes and used + _size(classes) <= most_bytes:
            used += _size(classes)
            values["classes"] = classes
        else:
            left_out.append(
                f"{name}, its classes: {limit}; `gfjobs summary RUN --classes` lists those of the"
                " thresholds that it was routed with"
            )
        packed.append(values)
    return packed, left_out


def _size(values: dict[str, Any]) -> int:
    return sum(len(value) for value in values.values() if isinstance(value, str))


def _packed(each: AllExitPass, answers: ExitAnswers, name: str) -> dict[str, Any]:
    cell = each.cell
    samples = np.concatenate(list(each.exit_ms)) if len(each.exit_ms) else np.empty((0, 0))
    return {
        "cell_id": cell["cell_id"],
        "name": name,
        "exit_blocks": list(answers.exit_blocks),
        "images": answers.images,
        "scores": encode_array(answers.gate_scores.astype("<f4")),  # (E - 1, N)
        "right": encode_array(np.packbits(answers.is_correct, axis=1, bitorder="little")),
        "samples": len(samples),
        "sample_ms": encode_array(samples.astype("<f8")),  # (samples, E)
        "samples_for": {str(each): needed for each, needed in dict(cell["samples_for"]).items()},
        "acc1_note": _explain_borrowed(cell),
        "ms_note": cell["exit_forward_ms_note"],
        "is_ms_promised": cell["is_exit_forward_ms_promised"],
        "ms_error": format_error(
            {
                "forward_ms_verdict": cell["exit_forward_ms_verdict"],
                "forward_ms_error_pct": cell["exit_forward_ms_error_pct"],
            }
        ),
        "exit_mj": cell["exit_energy_mj"],
        "exit_margin_mj": cell["exit_energy_margin_mj"],
        "mj_note": cell["exit_energy_mj_note"],
        "mj_source": cell["exit_energy_source"],
        "thresholds": list(each.thresholds),
        "slider": _slider(answers.gate_scores),
        "classes": None,
    }


def _explain_borrowed(cell: Row) -> str | None:
    """Where the bound of a borrowed accuracy is; at any thresholds the page cannot compute it."""
    lender = cell.get("accuracy_from")
    return lender and (
        f"accuracy and blocks are those of {lender}; how far the device's own can be from them at"
        ' these thresholds: `gfjobs sql "from at_thresholds([...])"`'
    )


def _slider(scores: NDArray[np.float32]) -> dict[str, float]:
    """The range of a slider; one step beyond its end, no image exits early."""
    known = scores[np.isfinite(scores)].astype(np.float64)
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    if low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    return {"low": low, "high": high, "step": (high - low) / _STEPS or 1 / _STEPS}
