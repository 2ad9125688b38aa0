"""The columns of a prediction: class, correct or not, loss.

Of equal logits the lower class index is first, in the prediction as in the top 5: the rule of
argmax, the same for every engine and device. topk of torch takes any of the equals.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

TOP = 5


@dataclass(frozen=True)
class Predictions:
    """Columns over n answers. Logits or a loss that are not finite are no answer.

    Attributes:
        prediction: (n,) int32, the first class with the largest logit.
        is_correct: (n,) bool, the prediction is the label.
        is_top5: (n,) bool, fewer than five classes come before the label.
        loss: (n,) float32, cross entropy in nats; NaN where there is no answer.
    """

    prediction: NDArray[np.int32]
    is_correct: NDArray[np.bool_]
    is_top5: NDArray[np.bool_]
    loss: NDArray[np.float32]

    def columns(self) -> dict[str, NDArray[Any]]:
        """Them by their names in the tables: NULL, and a loss of NaN, where there is no answer."""
        is_missing = np.isnan(self.loss)
        answers = {
            "prediction": self.prediction,
            "is_correct": self.is_correct,
            "is_top5": self.is_top5,
        }
        masked: dict[str, NDArray[Any]] = {
            name: np.ma.masked_array(values, is_missing) for name, values in answers.items()
        }
        return masked | {"loss": self.loss}


def collect_predictions(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> Predictions:
    """Hold (n, K) logits against (n,) labels."""
    is_finite: NDArray[np.bool_] = np.all(np.isfinite(logits), axis=1)
    wide = np.where(is_finite[:, None], logits, 0).astype(np.float64)
    of_label = np.take_along_axis(wide, labels[:, None], axis=1)
    largest = wide.max(axis=1, keepdims=True)
    losses = np.log(np.exp(wide - largest).sum(axis=1)) + (largest - of_label)[:, 0]
    is_before = np.arange(wide.shape[1]) < labels[:, None]
    is_answer = is_finite & (losses <= np.finfo(np.float32).max)
    before = ((wide > of_label) | ((wide == of_label) & is_before)).sum(axis=1)
    prediction = wide.argmax(axis=1).astype(np.int32)
    return Predictions(
        prediction=prediction,
        is_correct=(prediction == labels) & is_answer,
        is_top5=(before < TOP) & is_answer,
        loss=np.where(is_answer, losses, np.nan).astype(np.float32),
    )
