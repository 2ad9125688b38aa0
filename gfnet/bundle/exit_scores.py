"""Scores of exits under an exit rule, where images exit by them, and thresholds between them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gfnet.bundle.sessions import StageArrays

if TYPE_CHECKING:
    from numpy.typing import NDArray


def exit_scores(found: Sequence[StageArrays], rule: str) -> NDArray[Any]:
    """Return the (E - 1, B) scores of all early exits.

    Args:
        found: what every exit gave, the last block's last.
        rule: of gfnet.EXIT_RULES; `gate` stands for the scores that the stages give.
    """
    import torch

    from gfnet.confidence import Confidence
    from gfnet.routing import Streaks

    early, count = found[:-1], len(found[-1].logits)
    if rule == "gate":
        given = [each.scores for each in early if each.scores is not None]
        return np.stack(given) if given else np.empty((0, count), np.float32)
    confidence = Confidence(rule, found[-1].logits.shape[1])
    scores = [confidence(torch.from_numpy(each.logits)) for each in early]
    if rule == "patience":
        streaks = Streaks()
        scores = [streaks.count(each) for each in scores]
    return torch.stack(scores).numpy() if scores else np.empty((0, count), np.float32)


def exits_taken(scores: NDArray[Any], thresholds: Sequence[float]) -> NDArray[Any]:
    """Return the number of the exit that each image takes: the first whose score is enough."""
    limits = np.asarray(thresholds, np.float32).reshape(-1, 1)
    leaves = np.vstack([scores >= limits, np.ones((1, scores.shape[1]), bool)])
    taken: NDArray[Any] = leaves.argmax(axis=0)
    return taken


def clear_threshold(scores: NDArray[Any]) -> float:
    """Return a threshold that about half of the scores reach, and that none of them is near.

    It is the middle of the widest gap among the half of the scores around their median. At the
    median itself an image exits here or later as its engine rounds.

    Args:
        scores: (B,), at least one.
    """
    ordered = np.sort(scores.astype(np.float64))
    quarter = len(ordered) // 4
    inner = ordered[quarter : len(ordered) - quarter]
    if len(inner) < len(("lower", "upper")):
        return float(ordered[0])
    widest = int(np.diff(inner).argmax())
    return float((inner[widest] + inner[widest + 1]) / 2)
