"""Trains a whole model: the common part of the baseline and the student."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from gfnet.model import GFNet
from gfnet.preprocess import Preprocessing
from gfnet.training.data import VALIDATION_BATCH, Batch, Prepare, Samples
from gfnet.training.engine import Engine
from gfnet.training.loop import EpochScore
from gfnet.training.optimisation import Optimisation, block_matrices
from gfnet.training.settings import EpochSchedule

BatchLoss = Callable[[Batch], Tensor]
"""The mean loss of a batch, differentiable."""


class WholeModel:
    """Trains all weights by one loss; the best epoch has the highest validation accuracy.

    If several are equal, the one with the lowest validation loss is the best. Validation is in
    float32, as a checkpoint is evaluated.

    Args:
        model: on the engine's device.
        loss_of: called under the engine's autocast.
        schedule: how long and how fast to learn.
        images: number of images per epoch.
        preprocessing: of validation images.
        engine: device and precision.
    """

    def __init__(
        self,
        model: GFNet,
        loss_of: BatchLoss,
        *,
        schedule: EpochSchedule,
        images: int,
        preprocessing: Preprocessing,
        engine: Engine,
    ) -> None:
        self.model = model
        self._loss_of = loss_of
        self._engine = engine
        self._prepare = Prepare(preprocessing)
        self._optimisation = Optimisation(model.parameters(), schedule, block_matrices(model))
        self._optimisation.follow(schedule, steps=-(-images // schedule.batch_size))
        self._average = _average(model, schedule.ema_decay) if schedule.ema_decay else None

    @property
    def learning_rate(self) -> float:
        """Learning rate of the next step."""
        return self._optimisation.learning_rate

    def begin(self, epoch: int) -> str:  # noqa: ARG002 - all epochs are alike
        """Start an epoch, and return its phase, which is always the same."""
        self.model.train()
        return "model"

    def step(self, batch: Batch) -> float:
        """Learn from one batch, and return its mean loss, nats."""
        with self._engine.autocast():
            loss = self._loss_of(batch.to(self._engine.device))
        self._optimisation.step(loss)
        if self._average:
            self._average.update_parameters(self.model)
        return loss.item()

    def validate(self, validation: Samples) -> EpochScore:
        """Score the weights that the training would return now."""
        accuracy, loss = validate(self._chosen(), validation, self._prepare, self._engine)
        return EpochScore(accuracy, loss, None, (accuracy, -loss))

    def weights(self) -> Mapping[str, Tensor]:
        """Return the weights, or their average if the schedule has one."""
        return self._chosen().state_dict()

    def state_dict(self) -> dict[str, Any]:
        """Return weights, their average, optimiser and learning rate."""
        state = {
            "model": self.model.state_dict(),
            "optimisation": self._optimisation.state_dict(),
        }
        return state | ({"average": self._average.state_dict()} if self._average else {})

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.model.load_state_dict(state["model"])
        self._optimisation.load_state_dict(state["optimisation"])
        if self._average:
            self._average.load_state_dict(state["average"])

    def _chosen(self) -> GFNet:
        return cast("GFNet", self._average.module) if self._average else self.model


def _average(model: GFNet, decay: float) -> AveragedModel:
    update = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
    return AveragedModel(model, multi_avg_fn=update)


@torch.no_grad()
def validate(
    model: GFNet, validation: Samples, prepare: Prepare, engine: Engine
) -> tuple[float, float]:
    """Return top-1 accuracy in percent, and mean cross entropy in nats, at full depth."""
    model.eval()
    batches = (prepare(batch).to(engine.device) for batch in validation.batches(VALIDATION_BATCH))
    logits = torch.cat([model(images).cpu() for images, _ in batches])
    correct = (logits.argmax(dim=1) == validation.labels).float().mean().item() * 100
    return correct, functional.cross_entropy(logits, validation.labels).item()
