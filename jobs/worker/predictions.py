"""The columns of a prediction: class, correct or not, loss.

Ties between logits go to the lower class index, in the prediction and in the top 5: the rule of
argmax, the same on every engine and device. topk of torch breaks ties arbitrarily.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

TOP = 5


@dataclass(frozen=True)
class Predictions:
    """Columns of n predictions. If logits or loss are not finite, there is no prediction.

    Attributes:
        prediction: (n,) int32, the first class with the largest logit.
        is_correct: (n,) bool, the prediction is the label.
        is_top5: (n,) bool, fewer than five classes rank before the label.
        has_top5: there are more than five classes; else all of them would be in the top 5.
        loss: (n,) float32, cross entropy in nats; NaN if there is no prediction.
    """

    prediction: NDArray[np.int32]
    is_correct: NDArray[np.bool_]
    is_top5: NDArray[np.bool_]
    has_top5: bool
    loss: NDArray[np.float32]

    def columns(self) -> dict[str, NDArray[Any]]:
        """Columns by table name: NULL, and a loss of NaN, if there is no prediction."""
        is_missing = np.isnan(self.loss)
        return {
            "prediction": np.ma.masked_array(self.prediction, is_missing),
            "is_correct": np.ma.masked_array(self.is_correct, is_missing),
            "is_top5": np.ma.masked_array(self.is_top5, is_missing | (not self.has_top5)),
            "loss": self.loss,
        }


def collect_predictions(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> Predictions:
    """Returns the predictions of (n, K) logits, compared with (n,) labels."""
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
        has_top5=wide.shape[1] > TOP,
        loss=np.where(is_answer, losses, np.nan).astype(np.float32),
    )
