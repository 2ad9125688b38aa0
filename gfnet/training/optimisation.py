"""AdamW, its learning rate over time, and the average of its weights, as torch has them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, LRScheduler, SequentialLR

from gfnet.training.settings import Schedule

if TYPE_CHECKING:
    from torch import nn

WARMUP_START = 0.01  # of the learning rate; LinearLR cannot start from zero


def adamw(parameters: Iterable[nn.Parameter], schedule: Schedule) -> Optimizer:
    """AdamW whose weight decay spares biases and norms, which are vectors.

    Args:
        parameters: those to train; frozen ones are left out.
        schedule: gives learning_rate and weight_decay.
    """
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    decayed = [parameter for parameter in trained if parameter.dim() > 1]
    spared = [parameter for parameter in trained if parameter.dim() <= 1]
    groups: list[dict[str, Any]] = [{"params": decayed}, {"params": spared, "weight_decay": 0.0}]
    return AdamW(groups, lr=schedule.learning_rate, weight_decay=schedule.weight_decay, fused=True)


def warmup_and_cosine(optimizer: Optimizer, schedule: Schedule, steps: int) -> LRScheduler:
    """A linear rise over the warm-up, then half a cosine down to zero.

    Args:
        optimizer: whose learning rate is set.
        schedule: gives epochs and warmup_epochs.
        steps: an epoch; the scheduler is stepped after each.
    """
    rise = schedule.warmup_epochs * steps
    fall = CosineAnnealingLR(optimizer, max(schedule.epochs * steps - rise, 1))
    if rise == 0:
        return fall
    linear = LinearLR(optimizer, WARMUP_START, total_iters=rise)
    return SequentialLR(optimizer, [linear, fall], [rise])


def learning_rate(optimizer: Optimizer) -> float:
    """That of the next step."""
    rate: float = optimizer.param_groups[0]["lr"]
    return rate
