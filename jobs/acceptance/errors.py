"""Distance of an engine's answers from the truth, and which exits rounding does not decide.

The truth is the model in float64 on the CPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import gfnet

Numbers = NDArray[np.float64]

CLEAR_TIMES = 2.0
"""An image must exit where it should if each of its scores is farther from the threshold than this
many times the largest error at that exit, and than CLEAR_FLOOR."""

CLEAR_FLOOR = 1e-6

SINGLES = 4
"""Images that are also routed one by one: engines have graphs of their own for one."""


@dataclass(frozen=True)
class Answers:
    """What a model or an engine answers to some images.

    Attributes:
        logits: (E, n, K) of an all-exit pass.
        scores: (E - 1, n).
    """

    logits: Numbers
    scores: Numbers

    @classmethod
    def of(cls, outputs: gfnet.ExitOutputs) -> Answers:
        """Copy an engine's outputs to the host, in float64."""
        return cls(
            outputs.logits.double().cpu().numpy(), outputs.gate_scores.double().cpu().numpy()
        )


@dataclass(frozen=True)
class Errors:
    """Distance of answers from the truth.

    Attributes:
        logits: the largest difference, relative to the largest logit.
        scores: the largest difference; 0 without exits.
        flips: predictions of another class, of images x exits; ties may flip.
        exits: images that exited elsewhere, though their scores are clear of the thresholds.
        clear: images whose scores are.
        images: all images that were routed.
    """

    logits: float
    scores: float
    flips: int = 0
    exits: int = 0
    clear: int = 0
    images: int = 0

    def text(self) -> str:
        """Return the figures as text."""
        flips = f", flips {self.flips}" if self.flips else ""
        return (
            f"logits {self.logits:.1e}, scores {self.scores:.1e}, exits"
            f" {self.clear - self.exits}/{self.clear}{flips}"
        )

    def figures(self) -> dict[str, float | None]:
        """Return the figures by name."""
        return {
            "logits_error": self.logits,
            "scores_error": self.scores,
            "prediction_flips": self.flips,
            "clear_images": self.clear,
            "exit_flips": self.exits,
            "images": self.images,
        }


def measure_errors(
    runtime: gfnet.Runtime, model: gfnet.GFNet, truth: Answers, images: Any
) -> Errors:
    """Compare an engine with the truth: an all-exit pass, and routes of all images and single ones.

    Args:
        runtime: the engine.
        model: its model, for the exits.
        truth: the same images' answers.
        images: on the engine's device.
    """
    import torch

    with torch.inference_mode():
        outputs = runtime.forward_exits(images)
        answers = Answers.of(outputs)
        logits, scores = compare_answers(answers, truth)
        thresholds = [threshold_between(each) for each in truth.scores]
        routes = [(range(len(images)), runtime.route(images, thresholds))]
        routes += [
            (range(i, i + 1), runtime.route(images[i : i + 1], thresholds)) for i in range(SINGLES)
        ]
    expected = exits_at(truth.scores, thresholds)
    is_clear = find_clear(answers.scores, truth.scores, thresholds)
    blocks = np.asarray([*model.config.exit_blocks, model.config.last_block])
    exits = clear = count = 0
    scale = np.abs(truth.logits).max()
    for places, routed in routes:
        at = np.asarray(places)
        found = np.searchsorted(blocks, routed.exit_block.cpu().numpy())
        exits += int(((found != expected[at]) & is_clear[at]).sum())
        clear += int(is_clear[at].sum())
        count += len(at)
        difference = routed.logits.double().cpu().numpy() - truth.logits[found, at]
        logits = max(logits, _largest(difference) / scale)
    flips = int((outputs.logits.cpu().numpy().argmax(-1) != truth.logits.argmax(-1)).sum())
    return Errors(logits, scores, flips, exits, clear, count)


def compare_answers(found: Answers, truth: Answers) -> tuple[float, float]:
    """Return the largest error of the logits, relative to the largest, and of the scores."""
    logits = _largest(found.logits - truth.logits) / np.abs(truth.logits).max()
    return float(logits), _largest(found.scores - truth.scores)


def threshold_between(scores: Numbers) -> float:
    """Return a threshold in the widest gap of the middle half of some scores.

    Rounding must not decide who exits. Scores that are all equal stop everyone: no gap is there.
    """
    ranked = np.sort(scores)
    middle = ranked[len(ranked) // 4 : -(len(ranked) // 4) or None]
    gaps = np.diff(middle)
    if not len(gaps) or not gaps.max() > 0:
        return float(ranked[-1]) + 0.5
    widest = int(gaps.argmax())
    return float(middle[widest] + middle[widest + 1]) / 2


def exits_at(scores: Numbers, thresholds: Sequence[float]) -> NDArray[np.int64]:
    """Return the number of each image's exit: the first whose score, of (E - 1, n), lets it."""
    leaves = [each >= threshold for each, threshold in zip(scores, thresholds, strict=True)]
    leaves.append(np.ones(scores.shape[1], dtype=bool))
    exits: NDArray[np.int64] = np.stack(leaves).argmax(axis=0)
    return exits


def find_clear(found: Numbers, truth: Numbers, thresholds: Sequence[float]) -> NDArray[np.bool_]:
    """Return which images' exits are decided by more than the errors of the (E - 1, n) scores."""
    is_clear = np.ones(truth.shape[1], dtype=bool)
    for mine, true, threshold in zip(found, truth, thresholds, strict=True):
        error = _largest(mine - true)
        is_clear &= np.abs(true - threshold) > max(CLEAR_TIMES * error, CLEAR_FLOOR)
    return is_clear


def _largest(difference: Numbers) -> float:
    """Return the largest absolute value; infinite if a value is not a number."""
    if not difference.size:
        return 0.0
    largest = np.abs(difference).max()
    return float(largest) if np.isfinite(largest) else float("inf")
