"""What a row says of an answer: prediction, right or wrong, loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

TOP = 5


@dataclass(frozen=True)
class Answers:
    """Columns over n answers.

    Attributes:
        prediction: (n,) int32, the first class with the largest logit.
        is_correct: (n,) bool, the prediction is the label.
        is_top5: (n,) bool, fewer than five logits are larger than the label's.
        loss: (n,) float32, cross entropy in nats.
    """

    prediction: NDArray[np.int32]
    is_correct: NDArray[np.bool_]
    is_top5: NDArray[np.bool_]
    loss: NDArray[np.float32]

    def columns(self) -> dict[str, NDArray[Any]]:
        """Them by their names in the tables."""
        return {
            "prediction": self.prediction,
            "is_correct": self.is_correct,
            "is_top5": self.is_top5,
            "loss": self.loss,
        }


def judge(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> Answers:
    """Hold (n, K) logits against (n,) labels. Logits with a NaN are never right."""
    wide = logits.astype(np.float64)
    of_label = np.take_along_axis(wide, labels[:, None], axis=1)[:, 0]
    largest = wide.max(axis=1)  # NaN where any is
    is_number = ~np.isnan(largest)
    with np.errstate(invalid="ignore"):
        log_sum = largest + np.log(np.exp(wide - largest[:, None]).sum(axis=1))
    prediction = logits.argmax(axis=1).astype(np.int32)
    larger = (wide > of_label[:, None]).sum(axis=1)
    return Answers(
        prediction=prediction,
        is_correct=(prediction == labels) & is_number,
        is_top5=(larger < TOP) & is_number,
        loss=(log_sum - of_label).astype(np.float32),
    )
