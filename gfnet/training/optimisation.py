"""Optimisers and learning-rate schedules, those of torch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, LRScheduler, SequentialLR

from gfnet.training.settings import EpochSchedule

if TYPE_CHECKING:
    from torch import nn

    from gfnet.model import GFNet

_MATRIX_AXES = 2
WARMUP_START = 0.01  # of the learning rate; LinearLR cannot start from zero


class Optimisation:
    """Updates parameters by AdamW, optionally with Muon for the matrices of the blocks' MLPs.

    Muon (Jordan et al., 2024) makes each step's matrix orthogonal. Its entries are scaled to the
    size of AdamW's (Liu et al., 2025, equation 4), so that one learning rate serves both. Weight
    decay does not apply to biases and norms, which are vectors.

    Args:
        parameters: those to train; frozen ones are left out.
        schedule: gives optimizer, learning_rate and weight_decay.
        matrices: the parameters that Muon may update.

    Raises:
        ValueError: this torch has no Muon.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        schedule: EpochSchedule,
        matrices: Iterable[nn.Parameter] = (),
    ) -> None:
        trained = [parameter for parameter in parameters if parameter.requires_grad]
        chosen = {id(matrix) for matrix in matrices} if schedule.optimizer == "muon" else set()
        by_muon = [parameter for parameter in trained if id(parameter) in chosen]
        rest = [parameter for parameter in trained if id(parameter) not in chosen]
        self._optimizers = [_adamw(rest, schedule)]
        if by_muon:
            self._optimizers.append(_muon(by_muon, schedule))
        self._schedulers: list[LRScheduler] = []

    def follow(self, schedule: EpochSchedule, steps: int) -> None:
        """Raise the learning rate over the warm-up, then lower it to zero along half a cosine.

        Args:
            schedule: gives epochs and warmup_epochs.
            steps: per epoch.
        """
        self._schedulers = [_warmup_and_cosine(o, schedule, steps) for o in self._optimizers]

    @property
    def learning_rate(self) -> float:
        """Learning rate of the next step."""
        rate: float = self._optimizers[0].param_groups[0]["lr"]
        return rate

    def step(self, loss: torch.Tensor) -> None:
        """Update the parameters by the gradient of a loss."""
        for optimizer in self._optimizers:
            optimizer.zero_grad()
        torch.autograd.backward(loss)
        for optimizer in self._optimizers:
            optimizer.step()
        for scheduler in self._schedulers:
            scheduler.step()

    def state_dict(self) -> dict[str, Any]:
        """Return all that the next step depends on, except the parameters."""
        return {
            "optimizers": [optimizer.state_dict() for optimizer in self._optimizers],
            "schedulers": [scheduler.state_dict() for scheduler in self._schedulers],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        for optimizer, saved in zip(self._optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        for scheduler, saved in zip(self._schedulers, state["schedulers"], strict=True):
            scheduler.load_state_dict(saved)


def block_matrices(model: GFNet) -> list[nn.Parameter]:
    """Return the weight matrices of the blocks' MLPs; filters are not matrices."""
    return [parameter for parameter in model.blocks.parameters() if parameter.dim() == _MATRIX_AXES]


def _adamw(parameters: list[nn.Parameter], schedule: EpochSchedule) -> Optimizer:
    decayed = [parameter for parameter in parameters if parameter.dim() > 1]
    spared = [parameter for parameter in parameters if parameter.dim() <= 1]
    groups: list[dict[str, Any]] = [{"params": decayed}, {"params": spared, "weight_decay": 0.0}]
    return AdamW(groups, lr=schedule.learning_rate, weight_decay=schedule.weight_decay, fused=True)


def _muon(parameters: list[nn.Parameter], schedule: EpochSchedule) -> Optimizer:
    if not hasattr(torch.optim, "Muon"):
        raise ValueError(
            f"optimizer muon needs torch 2.9 or newer, and this is {torch.__version__}:"
            " run `pip install --upgrade torch torchvision`, or set optimizer: adamw"
        )
    return torch.optim.Muon(
        parameters,
        lr=schedule.learning_rate,
        weight_decay=schedule.weight_decay,
        adjust_lr_fn="match_rms_adamw",
    )


def _warmup_and_cosine(optimizer: Optimizer, schedule: EpochSchedule, steps: int) -> LRScheduler:
    rise = schedule.warmup_epochs * steps
    fall = CosineAnnealingLR(optimizer, max(schedule.epochs * steps - rise, 1))
    if rise == 0:
        return fall
    linear = LinearLR(optimizer, WARMUP_START, total_iters=rise)
    return SequentialLR(optimizer, [linear, fall], [rise])
