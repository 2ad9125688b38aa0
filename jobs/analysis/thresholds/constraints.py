"""Limits on accuracy and cost for thresholds, and descriptions of what misses them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from jobs.analysis.thresholds.exit_answers import ExitAnswers, OperatingPoint

_IMAGE_TOLERANCE = 1e-6
"""Of one image: 92.3 % of 10,000 images are 9,230 of them, not 9,230.000000000001."""

COST_TOLERANCE = 1e-9
"""Relative: a limit copied from a mean allows the thresholds that have this mean."""


@dataclass(frozen=True)
class CostLimit:
    """A limit on one kind of mean cost.

    Attributes:
        name: what is limited, with its unit, as in `energy_mj`.
        limit: the highest allowed mean over the images.
        costs: of an image that exits at each exit, the last block's last.
    """

    name: str
    limit: float
    costs: tuple[float, ...]


@dataclass(frozen=True)
class Constraints:
    """Limits that thresholds must all satisfy; None or empty: no limit.

    With a limit on accuracy, the search finds the lowest cost, and among equal costs the higher
    accuracy. With limits on cost only, or none, it finds the highest accuracy, and among equal
    accuracies the lower cost.

    Attributes:
        max_drop: how far accuracy may lie below that of the last exit for all images, in percentage
            points; negative: it must lie above.
        min_accuracy_pct: the least accuracy, in percent.
        max_cost: the highest mean cost, in the unit of `ExitAnswers.costs`.
        cost_limits: limits on further kinds of cost, each with what every exit costs.
    """

    max_drop: float | None = None
    min_accuracy_pct: float | None = None
    max_cost: float | None = None
    cost_limits: tuple[CostLimit, ...] = ()

    def __post_init__(self) -> None:
        """Refuse numbers that are not finite: NaN would be never satisfied and never missed."""
        given = {
            "max_drop": self.max_drop,
            "min_accuracy_pct": self.min_accuracy_pct,
            "max_cost": self.max_cost,
            **{f"max_{it.name}": it.limit for it in self.cost_limits},
        }
        odd = [f"{name} {x}" for name, x in given.items() if x is not None and not math.isfinite(x)]
        if odd:
            raise ValueError(f"{', '.join(odd)}: give finite numbers, or leave a limit out")

    @property
    def limits_accuracy(self) -> bool:
        """Whether accuracy is limited, so that the lowest cost is sought."""
        return self.max_drop is not None or self.min_accuracy_pct is not None

    def all_cost_limits(self, answers: ExitAnswers) -> tuple[CostLimit, ...]:
        """Return `max_cost` and the other limits on cost, in one form.

        Raises:
            ValueError: a limit does not have one cost per exit.
        """
        for it in self.cost_limits:
            if len(it.costs) != len(answers.exit_blocks):
                raise ValueError(
                    f"{len(it.costs)} costs for the limit on {it.name}; give one for each exit"
                    f" after blocks {list(answers.exit_blocks)}"
                )
        if self.max_cost is None:
            return self.cost_limits
        own = CostLimit(answers.cost_name, self.max_cost, tuple(answers.costs.tolist()))
        return (own, *self.cost_limits)

    def required_correct(self, answers: ExitAnswers) -> int:
        """Return the minimum number of correct predictions; 0 if accuracy is not limited."""
        needed = [0.0]
        if self.max_drop is not None:
            full = int(answers.is_correct[-1].sum())
            needed.append(full - self.max_drop / 100 * answers.images)
        if self.min_accuracy_pct is not None:
            needed.append(self.min_accuracy_pct / 100 * answers.images)
        return math.ceil(max(needed) - _IMAGE_TOLERANCE)

    def missed(self, answers: ExitAnswers, point: OperatingPoint) -> tuple[str, ...]:
        """Return the limits that a point misses, one sentence each; empty if it satisfies all."""
        sentences = []
        right = round(point.accuracy_pct / 100 * answers.images)
        if right < self.required_correct(answers):
            full = 100 * float(answers.is_correct[-1].mean())
            floors = [] if self.max_drop is None else [full - self.max_drop]
            floors += [] if self.min_accuracy_pct is None else [self.min_accuracy_pct]
            sentences.append(
                f"accuracy is {point.accuracy_pct:.2f} %, below {max(floors):.2f} % (at full depth"
                f" {full:.2f} %)"
            )
        for it in self.all_cost_limits(answers):
            mean = float(np.dot(point.exit_counts, it.costs)) / answers.images
            if mean > it.limit + COST_TOLERANCE * abs(it.limit):
                sentences.append(f"mean {it.name} is {mean:.4g}, above {it.limit:.4g}")
        return tuple(sentences)

    def describe(self, answers: ExitAnswers) -> str:
        """Describe the limits in one line."""
        parts = []
        if self.max_drop is not None:
            unit = "point" if self.max_drop == 1 else "points"
            parts.append(f"a drop of at most {self.max_drop:g} {unit}")
        if self.min_accuracy_pct is not None:
            parts.append(f"an accuracy of at least {self.min_accuracy_pct:g} %")
        limits = self.all_cost_limits(answers)
        parts += [f"mean {it.name} of at most {it.limit:g}" for it in limits]
        return " and ".join(parts) or "the highest accuracy"
