"""How far a training has come, how long it will take, and whether it still makes sense."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

Clock = Callable[[], float]
_SHORTEST_S = 1e-9  # a clock that did not move must not divide by zero


@dataclass(frozen=True)
class EpochReport:
    """One finished epoch.

    Attributes:
        phase: what learned in it: `model`; in the stage of the exits `heads` or `gates`.
        epoch: counted from 1.
        epochs: of how many.
        loss: mean over the training images, nats; of a gate phase the binary cross entropy.
        validation_accuracy: top-1 of the held-out images, percent.
        images_per_s: training images, the time of augmentation and validation included.
        seconds_left: from the mean epoch so far.
    """

    phase: str
    epoch: int
    epochs: int
    loss: float
    validation_accuracy: float
    images_per_s: float
    seconds_left: float


Report = Callable[[EpochReport], None]


class LossNotFiniteError(ArithmeticError):
    """The loss became NaN or infinite: nothing that was learned since can be used."""


class Progress:
    """Turn steps into one report an epoch.

    Args:
        epochs: how many there will be.
        report: gets the reports.
        clock: monotonic, seconds.
    """

    def __init__(self, epochs: int, report: Report, clock: Clock = time.monotonic) -> None:
        self._epochs, self._report, self._clock = epochs, report, clock
        self._done = 0
        self._started_s = self._epoch_started_s = clock()
        self._loss_sum, self._images = 0.0, 0

    def step(self, loss: float, images: int) -> None:
        """Note one step: its mean loss, and how many images it learned from.

        Raises:
            LossNotFiniteError: the loss is NaN or infinite.
        """
        if not math.isfinite(loss):
            raise LossNotFiniteError(
                f"the loss became {loss} in epoch {self._done + 1} of {self._epochs}; lower"
                " learning_rate or lengthen warmup_epochs"
            )
        self._loss_sum += loss * images
        self._images += images

    def finish(self, phase: str, validation_accuracy: float) -> None:
        """Report the epoch that the steps since the last one made.

        Args:
            phase: as in EpochReport.
            validation_accuracy: percent.
        """
        now_s = self._clock()
        self._done += 1
        mean_epoch_s = (now_s - self._started_s) / self._done
        self._report(
            EpochReport(
                phase=phase,
                epoch=self._done,
                epochs=self._epochs,
                loss=self._loss_sum / self._images,
                validation_accuracy=validation_accuracy,
                images_per_s=self._images / max(now_s - self._epoch_started_s, _SHORTEST_S),
                seconds_left=mean_epoch_s * (self._epochs - self._done),
            )
        )
        self._epoch_started_s = now_s
        self._loss_sum, self._images = 0.0, 0
