"""Each constraint as a risk: a loss from 0 to 1 per image, whose mean stays within a bound."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jobs.analysis.thresholds.constraints import COST_TOLERANCE, Constraints, CostLimit
from jobs.analysis.thresholds.exit_answers import ExitAnswers

Numbers = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Promise:
    """A promised limit on a mean, in the constraint's own unit and as a loss.

    Attributes:
        name: of the constraint, as in `max_drop` or `max_forward_ms`.
        promised: its limit, in its own unit.
        is_cost: whether it limits a cost: then the most aggressive thresholds are the safest.
        losses: (E, N) in 0..1, of each image at each exit; constraints limit its mean from above.
        bound: the limit as a mean loss.
        full_depth: the mean loss if no image exits early, if known for all images; otherwise 1.
        offset, scale: the limited mean is offset + scale x mean loss.
    """

    name: str
    promised: float
    is_cost: bool
    losses: Numbers
    bound: float
    full_depth: float
    offset: float
    scale: float

    def in_unit(self, loss: float) -> float:
        """Convert a mean loss to the mean that the constraint limits."""
        return self.offset + self.scale * loss

    def ceilings(self, do_none_leave: NDArray[np.bool_]) -> Numbers:
        """Return (J,) mean losses that no images can exceed, so that they need no test."""
        ceilings: Numbers = np.where(do_none_leave, self.full_depth, 1.0)
        return ceilings


def list_promises(answers: ExitAnswers, constraints: Constraints) -> tuple[Promise, ...]:
    """Return one promise per limit of the constraints, accuracy before costs."""
    promises = []
    if constraints.max_drop is not None:
        promises.append(_drop(answers, constraints.max_drop))
    if constraints.min_accuracy_pct is not None:
        promises.append(_accuracy(answers, constraints.min_accuracy_pct))
    promises += [_cost(answers, limit) for limit in constraints.all_cost_limits(answers)]
    return tuple(promises)


def _drop(answers: ExitAnswers, max_drop: float) -> Promise:
    """Loss: (1 + correct at full depth - correct here) / 2, so 1/2 if both agree."""
    right = answers.is_correct.astype(np.float64)
    return Promise(
        name="max_drop",
        promised=max_drop,
        is_cost=False,
        losses=(1 + right[-1] - right) / 2,
        bound=(1 + max_drop / 100) / 2,
        full_depth=0.5,
        offset=-100.0,
        scale=200.0,
    )


def _accuracy(answers: ExitAnswers, min_accuracy_pct: float) -> Promise:
    """Loss: 1 for a wrong prediction."""
    return Promise(
        name="min_accuracy_pct",
        promised=min_accuracy_pct,
        is_cost=False,
        losses=(~answers.is_correct).astype(np.float64),
        bound=1 - min_accuracy_pct / 100,
        full_depth=1.0,
        offset=100.0,
        scale=-100.0,
    )


def _cost(answers: ExitAnswers, limit: CostLimit) -> Promise:
    """Loss: 0 at the cheapest exit, 1 at the most expensive."""
    costs = np.array(limit.costs, np.float64)
    least = float(costs.min())
    span = float(costs.max()) - least or 1.0  # one cost for all: the mean loss is 0
    allowed = limit.limit + COST_TOLERANCE * abs(limit.limit)
    scaled = (costs - least) / span
    return Promise(
        name=f"max_{limit.name}",
        promised=limit.limit,
        is_cost=True,
        losses=np.repeat(scaled[:, None], answers.images, axis=1),
        bound=(allowed - least) / span,
        full_depth=float(scaled[-1]),
        offset=least,
        scale=span,
    )
