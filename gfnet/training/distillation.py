"""The second stage: trains a smaller student from labels and from a teacher."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from gfnet.model import GFNet, GFNetDistil
from gfnet.training.data import Batch
from gfnet.training.settings import Teaching
from gfnet.training.whole import BatchLoss


def teaching_loss(student: Tensor, teacher: Tensor, teaching: Teaching) -> Tensor:
    """Return a student's loss on its teacher's logits (Touvron et al., ICML 2021, section 4).

    Args:
        student: (B, K) logits of the distillation head.
        teacher: (B, K) logits.
        teaching: hard: cross entropy with the teacher's most likely class. Soft: Kullback-Leibler
            divergence between both softmaxes at a temperature, times its square so that the
            gradient keeps its size.

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


def student_loss(
    model: GFNetDistil, teacher: GFNet, teaching: Teaching, label_smoothing: float
) -> BatchLoss:
    """Return the mean of the class head's loss on labels and the other head's on a teacher.

    Args:
        model: the student.
        teacher: any model with the same classes and image size; it sees the same augmented images.
        teaching: what the distillation head learns from.
        label_smoothing: of the class head's loss, 0..1.
    """

    def loss_of(batch: Batch) -> Tensor:
        with torch.no_grad():
            taught = teacher(batch.images).float()
        by_class, by_distillation = _both_heads(model, batch.images)
        by_label = functional.cross_entropy(
            by_class.float(), batch.targets, label_smoothing=label_smoothing
        )
        return (by_label + teaching_loss(by_distillation.float(), taught, teaching)) / 2

    return loss_of


def _both_heads(model: GFNetDistil, images: Tensor) -> tuple[Tensor, Tensor]:
    tokens = model.run_blocks(model.embed(images), 0, model.config.last_block)
    return model.readout_pair(tokens)
