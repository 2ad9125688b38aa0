"""Outputs of every exit, and which images exit where."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

Thresholds = float | Sequence[float] | Tensor
"""One threshold for all gates, or one per gate in the order of exit_blocks."""


StageCall = Callable[[Any], Sequence[Any]]
"""Runs one stage: tokens (images in the first stage) to tokens, logits and gate scores; the last
stage returns only logits. The next call may overwrite the tokens; logits and scores stay valid.
Tokens are a tensor, or several as one object that a mask of images indexes."""


class ExitOutputs(NamedTuple):
    """Outputs of every exit for a batch, from one pass.

    Attributes:
        logits: (E, B, K), in the order of the exits, the last block's last.
        gate_scores: (E - 1, B) in 0..1; the last exit has no gate.
        exit_blocks: E block numbers.
    """

    logits: Tensor
    gate_scores: Tensor
    exit_blocks: tuple[int, ...]


class RoutedOutputs(NamedTuple):
    """Where each image of a batch exited, and its outputs there.

    Attributes:
        logits: (B, K) of the image's exit.
        exit_block: (B,) int64, the block after which the image exited.
        gate_score: (B,) float32, the score at that exit; NaN at the last block, which has no gate.
    """

    logits: Tensor
    exit_block: Tensor
    gate_score: Tensor


class Route:
    """Tracks which images of a batch remain, and the outputs of those that exited.

    Attributes:
        remaining: number of images that have not exited.
        stays: set once images have exited: the mask of those that continue, over the images that
            remained before.
    """

    stays: Tensor

    def __init__(self, batch: int) -> None:
        self.remaining = batch
        self._rows: Tensor | None = None  # their rows in the batch; None: no image has exited
        self._gone: list[tuple[Tensor, Tensor, Tensor, int]] = []
        self._whole: RoutedOutputs | None = None

    def leave(self, block: int, logits: Tensor, scores: Tensor, limit: float) -> bool:
        """Remove the images whose score reaches `limit` after `block`; `stays` masks the others.

        The scores, one number per image, are all that an exit copies to the CPU.

        Returns: whether any image exited.
        """
        count = sum(score >= limit for score in scores.tolist())
        self.remaining -= count
        if not count:
            return False
        if self._rows is None and not self.remaining:
            self._whole = RoutedOutputs(logits, _filled(scores, block), scores)
            return True
        leaves = scores >= limit
        if self._rows is None:
            self._rows = torch.arange(len(leaves), device=leaves.device)
        self._gone.append((self._rows[leaves], logits[leaves], scores[leaves], block))
        self.stays = ~leaves
        self._rows = self._rows[self.stays]
        return True

    def leave_last(self, block: int, logits: Tensor) -> None:
        """Let the remaining images exit after the last block, which has no gate."""
        scores = logits.new_full((len(logits),), math.nan, dtype=torch.float32)
        if self._rows is None:
            self._whole = RoutedOutputs(logits, _filled(scores, block), scores)
        else:
            self._gone.append((self._rows, logits, scores, block))

    def outputs(self) -> RoutedOutputs:
        """Return the outputs of all images, in the order of the batch."""
        if self._whole is not None:
            return self._whole
        order = torch.cat([rows for rows, *_ in self._gone]).argsort()
        blocks = [_filled(rows, block) for rows, _, _, block in self._gone]
        return RoutedOutputs(
            torch.cat([logits for _, logits, _, _ in self._gone])[order],
            torch.cat(blocks)[order],
            torch.cat([scores for _, _, scores, _ in self._gone])[order],
        )


def limits_of(threshold: Thresholds, exit_blocks: Sequence[int]) -> Mapping[int, float]:
    """Return the float32 threshold of each gate, by its block.

    They are Python numbers, so that comparing with them copies nothing.

    Raises:
        ValueError: the number of thresholds is not the number of gates, or one is NaN.
    """
    given = threshold.tolist() if isinstance(threshold, Tensor) else threshold
    try:
        values = tuple(map(float, given)) if isinstance(given, Iterable) else float(given)
    except TypeError as err:
        raise ValueError(f"give one threshold, or one per gate; found {given}") from err
    return _limits_of(values, tuple(exit_blocks))


@lru_cache(maxsize=256)  # computed for each image, it would take as long as an exit
def _limits_of(
    threshold: float | tuple[float, ...], exit_blocks: tuple[int, ...]
) -> Mapping[int, float]:
    gates = len(exit_blocks)
    given = torch.as_tensor(threshold, dtype=torch.float32, device="cpu")
    if given.dim() and len(given) != gates:
        raise ValueError(
            f"{len(given)} thresholds for {gates} gates (after blocks"
            f" {list(exit_blocks)}); give one number, or one per gate"
        )
    limits: list[float] = given.expand(gates).tolist()
    if any(math.isnan(limit) for limit in limits):
        raise ValueError("a threshold is NaN; give numbers, +inf or -inf")
    return dict(zip(exit_blocks, limits, strict=True))


class Streaks:
    """Counts how many exits in a row predict the same class, for the exit rule `patience`."""

    def __init__(self) -> None:
        self._last: tuple[Tensor, Tensor] | None = None  # predictions, counts

    def count(self, predictions: Tensor) -> Tensor:
        """Return the counts at the next exit; NaN where a prediction is NaN.

        Args:
            predictions: (B,) float32, classes of the images that remain.
        """
        counts = torch.ones_like(predictions)
        if self._last is not None:
            counts = torch.where(predictions == self._last[0], self._last[1] + 1, counts)
        self._last = predictions, counts
        return counts + (predictions - predictions)

    def keep(self, stays: Tensor) -> None:
        """Forget the images that have exited."""
        if self._last is not None:
            self._last = self._last[0][stays], self._last[1][stays]


def answer_stages(
    images: Tensor, stages: Sequence[StageCall], blocks: Sequence[int], rule: str = "gate"
) -> ExitOutputs:
    """Run every stage on all images, and return the outputs of every exit.

    Args:
        images: (B, 3, H, W).
        stages: one per exit, the last block's last.
        blocks: the block after which each stage ends.
        rule: of gfnet.EXIT_RULES, what the stages score by.
    """
    *early, last = stages
    tokens: Any = images
    logits: list[Tensor] = []
    scores: list[Tensor] = []
    streaks = Streaks() if rule == "patience" else None
    for stage in early:
        tokens, exit_logits, exit_scores = stage(tokens)
        logits.append(exit_logits)
        scores.append(streaks.count(exit_scores) if streaks else exit_scores)
    logits.append(last(tokens)[0])
    gate_scores = torch.stack(scores) if scores else images.new_empty(0, len(images)).float()
    return ExitOutputs(torch.stack(logits), gate_scores, tuple(blocks))


def route_stages(
    images: Tensor,
    stages: Sequence[StageCall],
    limits: Mapping[int, float],
    last_block: int,
    rule: str = "gate",
) -> RoutedOutputs:
    """Run the stages in turn; images that have exited are dropped before the next stage.

    Args:
        images: (B, 3, H, W).
        stages: one per exit, the last block's last.
        limits: from `limits_of`.
        last_block: block after which the remaining images exit.
        rule: of gfnet.EXIT_RULES, what the stages score by.
    """
    tokens: Any = images
    route = Route(len(images))
    streaks = Streaks() if rule == "patience" else None
    *early, last = stages
    for stage, (block, limit) in zip(early, limits.items(), strict=True):
        tokens, logits, scores = stage(tokens)
        if streaks:
            scores = streaks.count(scores)
        if route.leave(block, logits, scores, limit):
            if not route.remaining:
                return route.outputs()
            tokens = tokens[route.stays]
            if streaks:
                streaks.keep(route.stays)
    route.leave_last(last_block, last(tokens)[0])
    return route.outputs()


def _filled(like: Tensor, block: int) -> Tensor:
    return torch.full((len(like),), block, dtype=torch.int64, device=like.device)
