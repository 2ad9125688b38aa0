"""The first stage: a model learns from labels alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.nn import functional

from gfnet.model import GFNet
from gfnet.training.data import Augment, Samples, TrainingData
from gfnet.training.loop import Outcome, fit
from gfnet.training.progress import Report
from gfnet.training.settings import Schedule

if TYPE_CHECKING:
    from torch import Tensor


def train_baseline(
    model: GFNet,
    *,
    data: TrainingData,
    schedule: Schedule,
    augment: Augment,
    label_smoothing: float,
    report: Report,
) -> Outcome:
    """Train a model by cross entropy with label smoothing.

    Args:
        model: of any static family; holds the best epoch's weights afterwards.
        data: what is learned from, and chosen by.
        schedule: how long and how fast.
        augment: of the training images.
        label_smoothing: the share of each label that is spread over all classes, 0..1.
        report: gets one report an epoch.

    Raises:
        LossNotFiniteError: the loss became NaN or infinite.
    """

    def loss_of(batch: Samples) -> Tensor:
        logits = model(batch.images)
        return functional.cross_entropy(logits, batch.labels, label_smoothing=label_smoothing)

    return fit(model, loss_of, data=data, schedule=schedule, augment=augment, report=report)
