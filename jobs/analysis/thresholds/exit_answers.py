"""Outputs of every exit for every image, and the exact result of any thresholds on them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vector = tuple[float, ...]
"""One float32 threshold per gate, as Python numbers of equal value."""


@dataclass(frozen=True)
class OperatingPoint:
    """The result of one vector of thresholds.

    Attributes:
        thresholds: one per gate; +inf: no image exits there, -inf: every image with a score does.
        accuracy_pct: of the routed predictions, in percent.
        cost: the mean over the images, in the unit of `ExitAnswers.costs`.
        exit_counts: how many images exit at each exit, including the last block.
    """

    thresholds: Vector
    accuracy_pct: float
    cost: float
    exit_counts: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class ExitAnswers:
    """One all-exit pass: the predictions and the cost of each exit.

    Attributes:
        gate_scores: (E - 1, N) float32; NaN never exits. The last exit has no gate.
        is_correct: (E, N) bool.
        exit_blocks: E block numbers, the last block's last.
        costs: (E,) float64, of an image that exits at that exit: blocks run, ms, mJ.
        cost_name: what `costs` are, with their unit, as in `forward_ms`.
    """

    gate_scores: NDArray[np.float32]
    is_correct: NDArray[np.bool_]
    exit_blocks: tuple[int, ...]
    costs: NDArray[np.float64]
    cost_name: str

    def __post_init__(self) -> None:
        """Check the values and shapes; a mismatch would broadcast into a wrong result."""
        exits, images = len(self.exit_blocks), self.images
        shapes = (self.gate_scores.shape, self.is_correct.shape, self.costs.shape)
        if not exits or not images or shapes != ((exits - 1, images), (exits, images), (exits,)):
            raise ValueError(
                f"gate scores {shapes[0]}, answers {shapes[1]} and costs {shapes[2]} of exits after"
                f" blocks {list(self.exit_blocks)}; give (E - 1, N), (E, N) and (E,), with N > 0"
            )
        if self.gate_scores.dtype != np.float32:
            raise ValueError(
                f"gate scores are {self.gate_scores.dtype}; give float32, as they were compared"
            )
        if np.isinf(self.gate_scores).any():
            raise ValueError("a gate score is infinite; give finite numbers, or NaN for no score")
        if not np.isfinite(self.costs).all() or (self.costs < 0).any():
            raise ValueError(f"costs {self.costs.tolist()}; give finite numbers from 0 on")

    @property
    def gates(self) -> int:
        """The number of exits with a gate: all but the last."""
        return len(self.exit_blocks) - 1

    @property
    def images(self) -> int:
        """N."""
        return int(self.is_correct.shape[-1])

    @property
    def none_leave(self) -> Vector:
        """The thresholds at which every image runs to the last block."""
        return (math.inf,) * self.gates

    def exits_of(self, thresholds: Sequence[float]) -> NDArray[np.intp]:
        """Return where each image exits: (N,) numbers from 0 to E - 1.

        Raises:
            ValueError: not one threshold per gate, or one is NaN.
        """
        if len(thresholds) != self.gates or any(math.isnan(value) for value in thresholds):
            raise ValueError(
                f"thresholds {list(thresholds)} for {self.gates} gates (after blocks"
                f" {list(self.exit_blocks[:-1])}); give one number per gate, +inf or -inf"
            )
        limits = np.array(thresholds, np.float32)
        exits = np.full(self.images, self.gates)
        for gate in reversed(range(self.gates)):  # the first gate passed is written last
            np.putmask(exits, self.gate_scores[gate] >= limits[gate], gate)
        return exits

    def point(self, thresholds: Sequence[float]) -> OperatingPoint:
        """Evaluate any thresholds, exactly."""
        exits = self.exits_of(thresholds)
        counts = np.bincount(exits, minlength=len(self.exit_blocks))
        right = int(self.is_correct[exits, np.arange(self.images)].sum())
        return OperatingPoint(
            thresholds=tuple(float(value) for value in np.array(thresholds, np.float32)),
            accuracy_pct=100 * right / self.images,
            cost=float(counts @ self.costs) / self.images,
            exit_counts=tuple(counts.tolist()),
        )

    def subset(self, rows: NDArray[np.intp]) -> ExitAnswers:
        """Return the same for some of the images, in the order of `rows`."""
        return ExitAnswers(
            self.gate_scores[:, rows],
            self.is_correct[:, rows],
            self.exit_blocks,
            self.costs,
            self.cost_name,
        )
