"""Differences between an engine's outputs and those of the reference (`Work.reference`).

NaN and infinity: equal values on both sides agree. A value that is NaN or infinite on one side
only differs by infinity. Logits that are not finite are no prediction; if they are so on one side
only, the prediction counts as flipped.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jobs.worker.timing import Measured

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Agreement:
    """The compared columns of `reference_agreement`.

    Attributes:
        images: how many images both engines processed.
        max_logit_difference: for routed images, only over those that exited at the same exit;
            None if there are none.
        answer_flips: predictions of a different class; in an all-exit pass over images x exits.
        exit_flips: routed images that exited at a different exit; None for an all-exit pass.
        max_gate_difference: as for the logits; None if no gate was read.
    """

    images: int
    max_logit_difference: float | None
    answer_flips: int
    exit_flips: int | None
    max_gate_difference: float | None


def compare_exits(
    logits: Floats, gate_scores: Floats, reference_logits: Floats, reference_scores: Floats
) -> Agreement:
    """Compare all exits of an all-exit pass with the reference's.

    Args:
        logits: (E, n, K).
        gate_scores: (E - 1, n).
        reference_logits: (E, n, K).
        reference_scores: (E - 1, n).
    """
    return Agreement(
        images=logits.shape[1],
        max_logit_difference=_largest_difference(logits, reference_logits),
        answer_flips=_flips(logits, reference_logits),
        exit_flips=None,
        max_gate_difference=_largest_difference(gate_scores, reference_scores),
    )


def compare_routes(found: Measured, reference: Measured, last_block: int) -> Agreement:
    """Compare routed images with the same images as the reference routed them.

    Logits and gate scores of different exits are not comparable, so they are compared only for
    images that exited at the same exit. Predictions are compared for all images.

    Args:
        found: n images, at least one.
        reference: the same images in the same order.
        last_block: the last block, which has no gate.
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
    """Over all elements; None if there are none."""
    if not found.size:
        return None
    a, b = found.astype(np.float64), reference.astype(np.float64)
    is_same = (a == b) | (np.isnan(a) & np.isnan(b))
    with np.errstate(invalid="ignore"):
        difference = np.where(is_same, 0.0, np.abs(a - b))
    return float(np.where(np.isnan(difference), np.inf, difference).max())


def _flips(logits: Floats, reference: Floats) -> int:
    """Counts predictions of (..., K) logits that differ in class, or are missing on one side."""
    is_other = logits.argmax(axis=-1) != reference.argmax(axis=-1)
    is_answer, is_expected = (np.isfinite(each).all(axis=-1) for each in (logits, reference))
    return int((is_other | (is_answer != is_expected)).sum())
