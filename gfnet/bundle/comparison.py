"""Compares a bundle with the model that it was exported from: its logits and its exits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gfnet.bundle.errors import BundleError
from gfnet.bundle.exit_scores import clear_threshold, exit_scores, exits_taken
from gfnet.bundle.precisions import Tolerance, closeness
from gfnet.bundle.reader import Bundle
from gfnet.bundle.sessions import BundleSessions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from gfnet.model import GFNet

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
        moved: images that take another exit, of both sets of thresholds together.
    """

    images: int
    logit_difference: float
    allowed: float
    exits: int
    near: int
    moved: int


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
        BundleError: a logit differs by more, or more images take another exit.
    """
    import torch

    with torch.inference_mode():
        expected = model.forward_exits(images)
    wanted, scores = expected.logits.numpy(), expected.gate_scores.numpy()
    found = sessions.exits(images.numpy())
    logits = np.stack([each.logits for each in found])
    difference = float(np.abs(logits - wanted).max())
    allowed = max(tolerance.logits, tolerance.relative * float(np.abs(wanted).max()))
    if not difference <= allowed:
        raise BundleError(
            f"{bundle.where}: a logit differs from the checkpoint's by {difference:.2g}; allowed:"
            f" {allowed:.2g}"
        )
    near = exits = moved = 0
    for thresholds in _thresholds(model, scores):
        limits = np.asarray(thresholds, np.float32).reshape(-1, 1)
        is_clear = np.all(np.abs(scores - limits) > tolerance.scores, axis=0)
        taken = exits_taken(scores, thresholds)
        ours = exits_taken(exit_scores(found, bundle.manifest.exit_rule), thresholds)
        is_moved = (ours != taken) & is_clear
        _check_moved(bundle, is_moved, thresholds, tolerance)
        if bundle.manifest.single:
            for row in np.flatnonzero(is_clear)[:_SINGLES]:
                one = sessions.single(images[row : row + 1].numpy(), thresholds)
                _check_single(bundle, one, logits[ours[row], row], int(ours[row]))
        moved += int(is_moved.sum())
        near += int((~is_clear).sum())
        exits = max(exits, len(set(taken.tolist())))
    return BundleComparison(len(images), difference, allowed, exits, near, moved)


def _thresholds(model: GFNet, scores: NDArray[Any]) -> list[list[float]]:
    """Return the default thresholds, and per exit the middle between two scores near the median."""
    default = list(model.metadata.thresholds) or [0.5] * len(scores)
    return [default, [clear_threshold(row) for row in scores]] if len(scores) else [default]


def _check_moved(
    bundle: Bundle, is_moved: NDArray[Any], thresholds: Sequence[float], tolerance: Tolerance
) -> None:
    others = int(is_moved.sum())
    if others > tolerance.moved * len(is_moved):
        raise BundleError(
            f"{bundle.where}: {others} of {len(is_moved)} images take another exit than in the"
            f" checkpoint at thresholds {', '.join(f'{limit:.3g}' for limit in thresholds)};"
            f" allowed: {tolerance.moved * len(is_moved):.0f}"
        )


def _check_single(
    bundle: Bundle, one: Sequence[NDArray[Any]], wanted: NDArray[Any], exit_: int
) -> None:
    """Check that the graph for one image does as the stages do."""
    logits, block, _ = one
    expected = bundle.manifest.stages[exit_].exit_block
    reach = closeness(bundle.manifest.precision) * max(1.0, float(np.abs(wanted).max()))
    if block.tolist() != [expected] or not np.abs(logits[0] - wanted).max() <= reach:
        raise BundleError(
            f"{bundle.where}: the graph for one image exits after block {block.tolist()[0]} where"
            f" its stages exit after {expected}, or its logits differ"
        )
