"""The exit rules of one model side by side: the curve of each, and whether its gate is worth it.

An all-exit pass answers every rule at every threshold, so nothing is run again. A rule is compared
with another at equal mean blocks, since thresholds of different scores do not mean the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

import gfnet
import storage
from jobs.analysis.thresholds.choose import read_exit_answers
from jobs.analysis.thresholds.exit_answers import ExitAnswers
from jobs.analysis.thresholds.sweep import cut_ends, shared_moves
from jobs.common.formatting import Row, format_setting
from jobs.grid.models import GATE
from jobs.statistics.bootstrap import IntervalEstimate

CONFIDENCE = "max_prob"
"""The rule that a learned gate is compared with."""

LEVELS = 101
"""Mean blocks at which rules are compared: evenly from all exiting first to none exiting early."""

RESAMPLES = 500
_INTERVAL = (2.5, 97.5)  # percent
_CHUNK_MOVES = 2_000_000  # of resamples times moves: 16 MB


class RuleCurve(NamedTuple):
    """All that one shared threshold reaches under a rule, the highest threshold first.

    Attributes:
        thresholds: distinct scores, after +inf, at which no image exits early.
        mean_blocks, accuracy_pct: at each of them.
    """

    thresholds: NDArray[np.float32]
    mean_blocks: NDArray[np.float64]
    accuracy_pct: NDArray[np.float64]

    def accuracy_at(self, mean_blocks: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the accuracy at some mean blocks, between two points that of a mixture of both."""
        return np.interp(mean_blocks, self.mean_blocks[::-1], self.accuracy_pct[::-1])


@dataclass(frozen=True)
class RuleComparison:
    """The exit rules of one all-exit pass.

    Attributes:
        cell: its row of `choosable`.
        curves: by rule, in the order of gfnet.EXIT_RULES. A rule that the pass does not answer is
            left out: entropy, in runs of versions that did not save the number of classes.
        gain: the accuracy of the gate minus that of the largest probability at equal mean blocks,
            in points: the mean over `levels`, with its 95 % interval.
        levels: mean blocks, from the fewest that both can have to the most.
    """

    cell: Row
    curves: Mapping[str, RuleCurve]
    gain: IntervalEstimate
    levels: NDArray[np.float64]

    @property
    def title(self) -> str:
        """The model and its setting."""
        return f"{self.cell['model']}, {format_setting(self.cell)}"

    def evenly(self, number: int) -> list[list[float]]:
        """Return evenly spaced mean blocks, each with the accuracy of every rule."""
        levels = np.linspace(self.levels[0], self.levels[-1], number)
        columns = [levels, *(curve.accuracy_at(levels) for curve in self.curves.values())]
        rows: list[list[float]] = np.stack(columns, axis=1).tolist()
        return rows

    def lines(self) -> dict[str, list[tuple[float, float]]]:
        """Mean blocks and accuracy at each level, by rule."""
        return {
            rule: list(
                zip(self.levels.tolist(), curve.accuracy_at(self.levels).tolist(), strict=True)
            )
            for rule, curve in self.curves.items()
        }


def explain_no_rules(cell: Row) -> str | None:
    """Return why the rules of a pass under the gate are not compared; None if they are.

    Borrowed answers do not show how rules differ on this device: how far an accuracy may be off is
    known at a threshold, but not at equal mean blocks, nor is that of a difference.
    """
    lender = cell.get("accuracy_from")
    if cell["exit_rule"] != GATE or not lender:
        return None
    return (
        f"exit rules of {cell['model']}: not compared: {cell['device']} borrows its answers from"
        f" {lender}, whose own rules are compared"
    )


def read_rules(root: storage.Root, run_id: str, cell: Row) -> RuleComparison | None:
    """Compare the rules of one all-exit pass, a row of `choosable`.

    Returns: None if it is under another rule than the gate, or its answers are not its own.

    Raises:
        UsageError: as `read_exit_answers`.
    """
    if cell["exit_rule"] != GATE or cell.get("accuracy_from"):
        return None
    rules = [rule for rule in gfnet.EXIT_RULES if rule != "entropy" or cell["num_classes"]]
    answers = {rule: read_exit_answers(root, run_id, cell, rule) for rule in rules}
    return compare_rules(cell, answers)


def compare_rules(cell: Row, answers: Mapping[str, ExitAnswers]) -> RuleComparison:
    """Compare rules by the same predictions; those of GATE and CONFIDENCE must be there."""
    falls = {rule: Falling(each) for rule, each in answers.items()}
    everybody = np.ones((1, falls[GATE].images))
    curves = {rule: fall.curves(everybody)[0] for rule, fall in falls.items()}
    pair = [curves[GATE].mean_blocks, curves[CONFIDENCE].mean_blocks]
    levels = np.linspace(max(each.min() for each in pair), min(each.max() for each in pair), LEVELS)
    return RuleComparison(cell, curves, _gain(falls[GATE], falls[CONFIDENCE], levels), levels)


def judge_gate(rules: RuleComparison) -> str:
    """Says in one line whether the learned gate beats plain confidence."""
    gain, levels = rules.gain, rules.levels
    if gain.low > 0:
        verdict = f"the {GATE} is better than {CONFIDENCE}"
    elif gain.high < 0:
        verdict = f"the {GATE} is worse than {CONFIDENCE}"
    else:
        verdict = f"no difference between {GATE} and {CONFIDENCE} is shown"
    return (
        f"{verdict}: {gain.value:+.2f} points of acc@1 at equal mean blocks (95 %: {gain.low:+.2f}"
        f" to {gain.high:+.2f}; mean over {levels[0]:.3g} to {levels[-1]:.3g} blocks, paired"
        " bootstrap)"
    )


class Falling:
    """The images of a pass, in the order in which they exit earlier as one threshold falls."""

    def __init__(self, answers: ExitAnswers) -> None:
        """Sort the moves of all images by score, highest first."""
        blocks = np.array(answers.exit_blocks, np.float64) + 1
        right = answers.is_correct.astype(np.float64)
        moves = shared_moves(answers)
        self._rows = moves.rows
        self._right = right[moves.to_exits, moves.rows] - right[moves.from_exits, moves.rows]
        self._blocks = blocks[moves.to_exits] - blocks[moves.from_exits]
        self._ends = cut_ends(moves.scores)
        self._thresholds = np.concatenate([[np.float32(np.inf)], moves.scores])[self._ends]
        self._last_right = right[-1]
        self._depth = blocks[-1]

    @property
    def images(self) -> int:
        """N."""
        return len(self._last_right)

    @property
    def moves(self) -> int:
        """How often images change their exit in all."""
        return len(self._rows)

    def curves(self, counts: NDArray[np.float64]) -> list[RuleCurve]:
        """Return the curve of each resample, of which (R, N) `counts` has each image's number."""
        drawn = counts[:, self._rows]
        images = counts.sum(axis=1, keepdims=True)
        start = np.zeros((len(counts), 1))
        right, blocks = (
            np.cumsum(np.hstack([start, drawn * changes]), axis=1)[:, self._ends] / images
            for changes in (self._right, self._blocks)
        )
        right += (counts @ self._last_right)[:, None] / images
        return [
            RuleCurve(self._thresholds, *each)
            for each in zip(self._depth + blocks, 100 * right, strict=True)
        ]


def _gain(first: Falling, second: Falling, levels: NDArray[np.float64]) -> IntervalEstimate:
    """Return the mean difference at equal mean blocks, by paired bootstrap over the images."""

    def differences(counts: NDArray[np.float64]) -> list[float]:
        return [
            float(np.mean(one.accuracy_at(levels) - other.accuracy_at(levels)))
            for one, other in zip(first.curves(counts), second.curves(counts), strict=True)
        ]

    images, generator = first.images, np.random.default_rng(0)
    chunk = max(1, _CHUNK_MOVES // max(first.moves, second.moves, images))
    (value,) = differences(np.ones((1, images)))
    drawn: list[float] = []
    while len(drawn) < RESAMPLES:
        counts = [
            np.bincount(generator.integers(images, size=images), minlength=images)
            for _ in range(min(chunk, RESAMPLES - len(drawn)))
        ]
        drawn += differences(np.stack(counts).astype(np.float64))
    low, high = np.percentile(drawn, _INTERVAL)
    return IntervalEstimate(value, float(low), float(high))
