"""How far another engine's answers are from the reference's, eager torch in float32.

NaN and infinity: what both sides have is agreement. A value that is NaN on one side alone, or
infinite on one side alone, differs by infinity. Logits that are not finite are no answer, so that
those which are on one side alone are another answer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jobs.worker.timing import Measured

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Agreement:
    """The columns of `reference_agreement` that are compared.

    Attributes:
        images: how many were answered by both.
        max_logit_difference: of routed images among those that left at the same exit; None where
            none did.
        answer_flips: answers whose class is another; of an all-exit pass over images x exits.
        exit_flips: routed images that left at another exit; None of an all-exit pass.
        max_gate_difference: as of the logits; None where no gate was read.
    """

    images: int
    max_logit_difference: float | None
    answer_flips: int
    exit_flips: int | None
    max_gate_difference: float | None


def compare_exits(
    logits: Floats, gate_scores: Floats, reference_logits: Floats, reference_scores: Floats
) -> Agreement:
    """Hold all exits of an all-exit pass against the reference's.

    Args:
        logits: (E, n, K).
        gate_scores: (E - 1, n).
        reference_logits: likewise.
        reference_scores: likewise.
    """
    return Agreement(
        images=logits.shape[1],
        max_logit_difference=_largest_difference(logits, reference_logits),
        answer_flips=_flips(logits, reference_logits),
        exit_flips=None,
        max_gate_difference=_largest_difference(gate_scores, reference_scores),
    )


def compare_routes(found: Measured, reference: Measured, last_block: int) -> Agreement:
    """Hold routed images against the same ones as the reference routed them.

    Logits and gate scores of two exits have nothing in common: they are compared where an image
    left at the same one. Answers are compared wherever it left.

    Args:
        found: n images, at least one.
        reference: the same images in the same order.
        last_block: leaving there reads no gate.
    """
    logits, expected = np.stack(found.logits), np.stack(reference.logits)
    blocks, expected_blocks = np.asarray(found.exit_blocks), np.asarray(reference.exit_blocks)
    is_same = blocks == expected_blocks
    by_gate = is_same & (blocks != last_block)
    scores, expected_scores = (
        np.asarray(measured.gate_scores, dtype=np.float32)[by_gate]
        for measured in (found, reference)
    )
    return Agreement(
        images=len(logits),
        max_logit_difference=_largest_difference(logits[is_same], expected[is_same]),
        answer_flips=_flips(logits, expected),
        exit_flips=int((~is_same).sum()),
        max_gate_difference=_largest_difference(scores, expected_scores),
    )


def _largest_difference(found: Floats, reference: Floats) -> float | None:
    """Over all elements; None where there are none."""
    if not found.size:
        return None
    a, b = found.astype(np.float64), reference.astype(np.float64)
    is_same = (a == b) | (np.isnan(a) & np.isnan(b))
    with np.errstate(invalid="ignore"):
        difference = np.where(is_same, 0.0, np.abs(a - b))
    return float(np.where(np.isnan(difference), np.inf, difference).max())


def _flips(logits: Floats, reference: Floats) -> int:
    """Answers of (..., K) logits that are another: the class, or none on one side alone."""
    is_other = logits.argmax(axis=-1) != reference.argmax(axis=-1)
    is_answer, is_expected = (np.isfinite(each).all(axis=-1) for each in (logits, reference))
    return int((is_other | (is_answer != is_expected)).sum())
