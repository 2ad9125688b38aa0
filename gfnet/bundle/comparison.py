"""Compares a bundle with the model that it was exported from: its logits and its exits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gfnet.bundle.errors import BundleError
from gfnet.bundle.exit_scores import exit_scores, exits_taken
from gfnet.bundle.precisions import Tolerance
from gfnet.bundle.reader import Bundle
from gfnet.bundle.sessions import BundleSessions, StageArrays

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from gfnet.model import GFNet

_LARGE = 100.0
"""Logits beyond this have a tolerance in proportion: their last bits are worth more."""

_SINGLES = 8  # images that the graph for one image routes, per set of thresholds


@dataclass(frozen=True)
class BundleComparison:
    """How a bundle's answers differ from its model's.

    Attributes:
        images: number of images.
        logit_difference: the largest one, over all exits.
        allowed: the largest that is accepted.
        exits: number of exits that images took at the thresholds tried.
        near: images left out at a threshold, because a score was too near to it.
    """

    images: int
    logit_difference: float
    allowed: float
    exits: int
    near: int


def compare_bundle(
    model: GFNet, bundle: Bundle, sessions: BundleSessions, images: Tensor, tolerance: Tolerance
) -> BundleComparison:
    """Compare at every exit, and at two sets of thresholds: the default ones, and medians.

    Args:
        model: in torch, on the CPU.
        bundle: of this model.
        sessions: that run it.
        images: (B, 3, H, W), prepared for the model.
        tolerance: of logits and scores.

    Raises:
        BundleError: a logit differs by more, or an image takes another exit.
    """
    import torch

    with torch.inference_mode():
        expected = model.forward_exits(images)
    wanted, scores = expected.logits.numpy(), expected.gate_scores.numpy()
    found = sessions.exits(images.numpy())
    logits = np.stack([each.logits for each in found])
    difference = float(np.abs(logits - wanted).max())
    allowed = tolerance.logits * max(1.0, float(np.abs(wanted).max()) / _LARGE)
    if not difference <= allowed:
        raise BundleError(
            f"{bundle.where}: a logit differs from the checkpoint's by {difference:.2g}; allowed:"
            f" {allowed:.2g}"
        )
    near = exits = 0
    for thresholds in _thresholds(model, scores):
        limits = np.asarray(thresholds, np.float32).reshape(-1, 1)
        is_clear = np.all(np.abs(scores - limits) > tolerance.scores, axis=0)
        taken = exits_taken(scores, thresholds)
        _check_exits(bundle, found, thresholds, taken, is_clear)
        if bundle.manifest.single:
            for row in np.flatnonzero(is_clear)[:_SINGLES]:
                one = sessions.single(images[row : row + 1].numpy(), thresholds)
                _check_single(bundle, one, wanted[taken[row], row], int(taken[row]), allowed)
        near += int((~is_clear).sum())
        exits = max(exits, len(set(taken.tolist())))
    return BundleComparison(len(images), difference, allowed, exits, near)


def _thresholds(model: GFNet, scores: NDArray[Any]) -> list[list[float]]:
    """Return the default thresholds, and per exit the middle between two scores near the median."""
    default = list(model.metadata.thresholds) or [0.5] * len(scores)
    return [default, [_middle(row) for row in scores]] if len(scores) else [default]


def _middle(scores: NDArray[Any]) -> float:
    """Return the middle of the widest gap among the half of the scores around their median."""
    ordered = np.sort(scores.astype(np.float64))
    quarter = len(ordered) // 4
    inner = ordered[quarter : len(ordered) - quarter]
    if len(inner) < len(("lower", "upper")):
        return float(ordered[0])
    widest = int(np.diff(inner).argmax())
    return float((inner[widest] + inner[widest + 1]) / 2)


def _check_exits(
    bundle: Bundle,
    found: Sequence[StageArrays],
    thresholds: Sequence[float],
    taken: NDArray[Any],
    is_clear: NDArray[Any],
) -> None:
    ours = exits_taken(exit_scores(found, bundle.manifest.exit_rule), thresholds)
    others = int((ours != taken)[is_clear].sum())
    if others:
        raise BundleError(
            f"{bundle.where}: {others} of {len(taken)} images take another exit than in the"
            f" checkpoint at thresholds {', '.join(f'{limit:.3g}' for limit in thresholds)}"
        )


def _check_single(
    bundle: Bundle, one: Sequence[NDArray[Any]], wanted: NDArray[Any], exit_: int, allowed: float
) -> None:
    logits, block, _ = one
    expected = bundle.manifest.stages[exit_].exit_block
    if block.tolist() != [expected] or not np.abs(logits[0] - wanted).max() <= allowed:
        raise BundleError(
            f"{bundle.where}: the graph for one image exits after block {block.tolist()[0]} where"
            f" the checkpoint exits after {expected}, or its logits differ"
        )
