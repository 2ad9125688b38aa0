"""How far a training has come, how long it will take, and whether it still makes sense."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

Clock = Callable[[], float]
_SHORTEST_S = 1e-9  # a clock that did not move must not divide by zero
LIVE_INTERVAL_S = 2.0
"""Between two reports within an epoch."""


@dataclass(frozen=True)
class Validation:
    """What an epoch came to on the held-out images.

    Attributes:
        accuracy: top-1, percent; of a model with exits as routed.
        loss: mean cross entropy, nats.
        blocks: that an image runs on average; None where none can leave early.
        is_best: whether this is the best epoch so far.
    """

    accuracy: float
    loss: float
    blocks: float | None
    is_best: bool


@dataclass(frozen=True)
class EpochReport:
    """One epoch, finished or under way.

    Attributes:
        phase: what learned in it: `model`; in the stage of the exits `warm-up`, `joint`, `gates`
            or `heads`.
        epoch: counted from 1.
        epochs: of how many.
        share: of the epoch's images that were learned from; 1 with its validation.
        loss: mean over these images, nats; of a gate phase the binary cross entropy.
        learning_rate: of the last step.
        images_per_s: training images, the time of augmentation and validation included.
        seconds_left: from the mean speed so far.
        seconds: that this epoch has taken.
        validation: None until the epoch is finished.
    """

    phase: str
    epoch: int
    epochs: int
    share: float
    loss: float
    learning_rate: float
    images_per_s: float
    seconds_left: float
    seconds: float
    validation: Validation | None


class LossNotFiniteError(ArithmeticError):
    """The loss became NaN or infinite: nothing that was learned since can be used."""


class EpochProgress:
    """Turn steps into one report an epoch, and into some within a long one.

    Args:
        epochs: how many there are in all.
        images: an epoch has.
        done: epochs that an earlier, interrupted training has finished.
        clock: monotonic, seconds.
    """

    def __init__(
        self,
        epochs: int,
        images: int,
        *,
        done: int = 0,
        clock: Clock = time.monotonic,
    ) -> None:
        self._epochs, self._images, self._clock = epochs, images, clock
        self._first = self._done = done
        self._started_s = self._epoch_started_s = self._reported_s = clock()
        self._reset()

    def _reset(self) -> None:
        self._loss_sum, self._seen, self._learning_rate = 0.0, 0, 0.0

    def step(
        self, phase: str, loss: float, images: int, learning_rate: float
    ) -> EpochReport | None:
        """Note one step: its mean loss, and how many images it learned from.

        Returns:
            How far the epoch is, where the last report is some time ago.

        Raises:
            LossNotFiniteError: the loss is NaN or infinite.
        """
        if not math.isfinite(loss):
            raise self.lost(f"the loss became {loss}")
        self._loss_sum += loss * images
        self._seen += images
        self._learning_rate = learning_rate
        now_s = self._clock()
        if now_s - self._reported_s < LIVE_INTERVAL_S:
            return None
        self._reported_s = now_s
        return self._now(phase, now_s, None)

    def lost(self, what: str) -> LossNotFiniteError:
        """An error for this epoch that says what became NaN or infinite, and what to do."""
        return LossNotFiniteError(
            f"{what} in epoch {self._done + 1} of {self._epochs}; lower learning_rate or lengthen"
            " warmup_epochs"
        )

    def finish(self, phase: str, validation: Validation) -> EpochReport:
        """The report of the epoch that the steps since the last one made."""
        now_s = self._clock()
        report = self._now(phase, now_s, validation)
        self._done += 1
        self._epoch_started_s = self._reported_s = now_s
        self._reset()
        return report

    def _now(self, phase: str, now_s: float, validation: Validation | None) -> EpochReport:
        share = self._seen / self._images
        epochs_so_far = self._done - self._first + share
        epoch_s = now_s - self._epoch_started_s
        return EpochReport(
            phase=phase,
            epoch=self._done + 1,
            epochs=self._epochs,
            share=share,
            loss=self._loss_sum / self._seen,
            learning_rate=self._learning_rate,
            images_per_s=self._seen / max(epoch_s, _SHORTEST_S),
            seconds_left=(now_s - self._started_s)
            / epochs_so_far
            * (self._epochs - self._done - share),
            seconds=epoch_s,
            validation=validation,
        )
