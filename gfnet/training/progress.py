"""Progress of a training: its speed, the time left, and whether its loss is still finite."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

Clock = Callable[[], float]
_SHORTEST_S = 1e-9  # a clock that did not move must not divide by zero
LIVE_INTERVAL_S = 2.0
"""Least time between two reports within an epoch."""


@dataclass(frozen=True)
class Validation:
    """Results of an epoch on the held-out images.

    Attributes:
        accuracy: top-1, percent; of a model with exits, as routed.
        loss: mean cross entropy, nats.
        blocks: blocks run per image on average; None if no image can exit early.
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
        phase: what learned in it: `model`; in the exit stage `warm-up`, `joint`, `gates` or
            `heads`.
        epoch: counted from 1.
        epochs: number of epochs in all.
        share: fraction of the epoch's images learned from so far; 1 with its validation.
        loss: mean over these images, nats; in a gate phase the binary cross entropy.
        learning_rate: of the last step.
        images_per_s: training images per second, including augmentation and validation.
        seconds_left: estimated from the mean speed so far.
        seconds: time that this epoch has taken.
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
    """Raised if the loss became NaN or infinite: nothing learned since can be used."""


class EpochProgress:
    """Turns steps into one report per epoch, and into more within a long one.

    Args:
        epochs: number of epochs in all.
        images: number of images per epoch.
        done: number of epochs that an earlier, interrupted training has finished.
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
        """Record one step: its mean loss, and how many images it learned from.

        Returns:
            A report of the epoch so far, or None if the last one is less than LIVE_INTERVAL_S old.

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
        """Return an error for this epoch that says what became NaN or infinite, and what to do."""
        return LossNotFiniteError(
            f"{what} in epoch {self._done + 1} of {self._epochs}; lower learning_rate or lengthen"
            " warmup_epochs"
        )

    def finish(self, phase: str, validation: Validation) -> EpochReport:
        """End the epoch, and return its report."""
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
