"""What decays, and how the learning rate moves."""

import pytest
import torch
from torch import nn

from gfnet.training.optimisation import adamw, warmup_and_cosine
from gfnet.training.settings import Schedule

SCHEDULE = Schedule(
    epochs=3, batch_size=1, learning_rate=0.4, weight_decay=0.1, warmup_epochs=1, seed=0
)


def test_decay_spares_vectors_and_frozen_weights_are_left_out() -> None:
    """A matrix decays, its bias does not, and a frozen layer is not trained."""
    layer, frozen = nn.Linear(2, 2), nn.Linear(2, 2).requires_grad_(requires_grad=False)
    optimizer = adamw([*layer.parameters(), *frozen.parameters()], SCHEDULE)
    decays = [(group["weight_decay"], group["params"]) for group in optimizer.param_groups]
    assert [decay for decay, _ in decays] == [0.1, 0.0]
    assert [len(parameters) for _, parameters in decays] == [1, 1]
    assert decays[0][1][0] is layer.weight
    assert decays[1][1][0] is layer.bias


@pytest.mark.parametrize("warmup_epochs", [0, 1])
def test_the_rate_rises_to_its_highest_and_falls_to_zero(warmup_epochs: int) -> None:
    """Highest where the warm-up ends, half of it in the middle of the fall, zero at the end."""
    schedule = Schedule(
        warmup_epochs + 2, 1, learning_rate=0.4, weight_decay=0, warmup_epochs=warmup_epochs, seed=0
    )
    optimizer = adamw([nn.Parameter(torch.zeros(2, 2))], schedule)
    scheduler = warmup_and_cosine(optimizer, schedule, steps=10)
    rates = []
    for _ in range(schedule.epochs * 10 + 1):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    top = warmup_epochs * 10
    assert rates[top] == pytest.approx(0.4) == max(rates)
    assert rates[top + 10] == pytest.approx(0.2)
    assert rates[top + 20] == pytest.approx(0, abs=1e-9)
    assert rates[: top + 1] == sorted(rates[: top + 1])
