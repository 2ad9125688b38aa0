"""The first stage: trains a model from labels alone, with fresh or existing weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.nn import functional

from gfnet.model import GFNet
from gfnet.training.data import Batch
from gfnet.training.whole import BatchLoss

if TYPE_CHECKING:
    from torch import Tensor


def label_loss(model: GFNet, label_smoothing: float) -> BatchLoss:
    """Return the loss of a model's logits: cross entropy with label smoothing, in float32.

    Args:
        model: of any static family.
        label_smoothing: the share of each label that is spread over all classes, 0..1.
    """

    def loss_of(batch: Batch) -> Tensor:
        logits = model(batch.images).float()
        return functional.cross_entropy(logits, batch.targets, label_smoothing=label_smoothing)

    return loss_of


def take_over(model: GFNet, start: GFNet) -> None:
    """Copy the weights of another model of the same sizes into a fresh one, to train from there.

    If the classes differ in number, the head is not copied: it is trained from scratch.

    Args:
        model: changed.
        start: not changed; of the same family and sizes, except the number of classes.
    """
    state = start.state_dict()
    if start.config.num_classes != model.config.num_classes:
        fresh = model.state_dict()
        state |= {name: fresh[name] for name in ("head.weight", "head.bias")}
    model.load_state_dict(state)
