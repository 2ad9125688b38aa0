"""The first stage: a model learns from labels alone, from nothing or from existing weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.nn import functional

from gfnet.model import GFNet
from gfnet.training.data import Batch
from gfnet.training.whole import BatchLoss

if TYPE_CHECKING:
    from torch import Tensor


def label_loss(model: GFNet, label_smoothing: float) -> BatchLoss:
    """Cross entropy of a model's logits with label smoothing, in float32.

    Args:
        model: of any static family.
        label_smoothing: the share of each label that is spread over all classes, 0..1.
    """

    def loss_of(batch: Batch) -> Tensor:
        logits = model(batch.images).float()
        return functional.cross_entropy(logits, batch.targets, label_smoothing=label_smoothing)

    return loss_of


def take_over(model: GFNet, start: GFNet) -> None:
    """Give a fresh model the weights of another one of its sizes, to go on from.

    A head of other classes is left as it is: it is learned anew.

    Args:
        model: changed.
        start: not changed; of the same family and sizes, but for its classes.
    """
    state = start.state_dict()
    if start.config.num_classes != model.config.num_classes:
        fresh = model.state_dict()
        state |= {name: fresh[name] for name in ("head.weight", "head.bias")}
    model.load_state_dict(state)
