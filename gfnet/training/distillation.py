"""The second stage: a smaller student learns from labels and from a teacher."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from gfnet.model import GFNet, GFNetDistil
from gfnet.training.data import Augment, Samples, TrainingData
from gfnet.training.loop import Outcome, fit
from gfnet.training.progress import Report
from gfnet.training.settings import Schedule, Teaching


def teaching_loss(student: Tensor, teacher: Tensor, teaching: Teaching) -> Tensor:
    """How far a student is from its teacher (Touvron et al., ICML 2021, section 4).

    Args:
        student: (B, K) logits of the distillation head.
        teacher: (B, K) logits.
        teaching: hard, cross entropy with the teacher's most likely class; or soft, the
            Kullback-Leibler divergence of both sides' softmax at a temperature, times its square
            so that the gradient keeps its size.

    Returns: the mean over the batch, nats.
    """
    if teaching.kind == "hard":
        return functional.cross_entropy(student, teacher.argmax(dim=1))
    temperature = teaching.temperature
    divergence = functional.kl_div(
        (student / temperature).log_softmax(dim=1),
        (teacher / temperature).log_softmax(dim=1),
        reduction="batchmean",
        log_target=True,
    )
    return divergence * temperature**2


def train_student(
    model: GFNetDistil,
    teacher: GFNet,
    *,
    data: TrainingData,
    schedule: Schedule,
    augment: Augment,
    teaching: Teaching,
    report: Report,
) -> Outcome:
    """Train a student: its class head on the labels, its distillation head on the teacher.

    Args:
        model: the student; holds the best epoch's weights afterwards.
        teacher: any model with the same classes and image size; it sees the same augmented images.
        data: what is learned from, and chosen by.
        schedule: how long and how fast.
        augment: of the training images.
        teaching: what the distillation head learns.
        report: gets one report an epoch.

    Raises:
        LossNotFiniteError: the loss became NaN or infinite.
    """

    def loss_of(batch: Samples) -> Tensor:
        with torch.no_grad():
            taught = teacher(batch.images)
        by_class, by_distillation = _both_heads(model, batch.images)
        label_loss = functional.cross_entropy(by_class, batch.labels)
        return (label_loss + teaching_loss(by_distillation, taught, teaching)) / 2

    return fit(model, loss_of, data=data, schedule=schedule, augment=augment, report=report)


def _both_heads(model: GFNetDistil, images: Tensor) -> tuple[Tensor, Tensor]:
    tokens = model.embed(images)
    for block in model.blocks:
        tokens = block(tokens)
    return model.readout_pair(tokens)
