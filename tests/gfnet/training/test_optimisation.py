"""What decays, who moves which matrix, and how the learning rate moves."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import nn

from gfnet import ModelConfig
from gfnet.training.loop import fresh
from gfnet.training.optimisation import Optimisation, block_matrices
from gfnet.training.settings import EpochSchedule

SCHEDULE = EpochSchedule(
    epochs=3, batch_size=1, learning_rate=0.4, weight_decay=0.1, warmup_epochs=0, seed=0
)


def test_decay_spares_vectors_and_frozen_weights_are_left_out() -> None:
    """By hand: AdamW without a gradient multiplies a matrix by 1 - 0.4 * 0.1, and no vector."""
    layer, frozen = nn.Linear(2, 2), nn.Linear(2, 2).requires_grad_(requires_grad=False)
    before = [p.detach().clone() for p in (*layer.parameters(), *frozen.parameters())]
    optimisation = Optimisation([*layer.parameters(), *frozen.parameters()], SCHEDULE)
    everything = sum(p.sum() for p in (*layer.parameters(), *frozen.parameters()))
    assert isinstance(everything, torch.Tensor)
    optimisation.step(everything * 0)
    weight, bias, *rest = before
    torch.testing.assert_close(layer.weight.detach(), weight * 0.96)
    assert torch.equal(layer.bias, bias)
    assert all(torch.equal(a, b) for a, b in zip(frozen.parameters(), rest, strict=True))


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("warmup_epochs", [0, 1])
def test_the_rate_rises_to_its_highest_and_falls_to_zero(
    warmup_epochs: int, optimizer: str
) -> None:
    """Highest where the warm-up ends, half of it in the middle of the fall, zero at the end."""
    schedule = replace(
        SCHEDULE, epochs=warmup_epochs + 2, warmup_epochs=warmup_epochs, optimizer=optimizer
    )
    matrix = nn.Parameter(torch.eye(2))
    optimisation = Optimisation([matrix], schedule, [matrix])
    optimisation.follow(schedule, steps=10)
    rates = []
    for _ in range(schedule.epochs * 10 + 1):
        rates.append(optimisation.learning_rate)
        optimisation.step(matrix.sum())
    top = warmup_epochs * 10
    assert rates[top] == pytest.approx(0.4) == max(rates)
    assert rates[top + 10] == pytest.approx(0.2)
    assert rates[top + 20] == pytest.approx(0, abs=1e-9)
    assert rates[: top + 1] == sorted(rates[: top + 1])


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this torch has no Muon")
def test_muon_moves_every_direction_of_a_matrix_alike() -> None:
    """A gradient of singular values 3 and 0.03 moves AdamW's way only where it is not Muon's."""
    gradient = torch.diag(torch.tensor([3.0, 0.03]))
    by_muon, by_adamw = (nn.Parameter(torch.zeros(2, 2)) for _ in range(2))
    schedule = replace(SCHEDULE, weight_decay=0.0, optimizer="muon")
    optimisation = Optimisation([by_muon, by_adamw], schedule, [by_muon])
    optimisation.step(((by_muon + by_adamw) * gradient).sum())
    moved = torch.linalg.svdvals(by_muon.detach())
    assert moved.min() > 0.5 * moved.max()  # Newton-Schulz stops early: alike within a factor
    size = by_muon.detach().square().mean().sqrt() / by_adamw.detach().square().mean().sqrt()
    assert 0.1 < size < 1  # 0.2 of AdamW's full matrix, whose off-diagonal did not move here


def test_only_mlp_matrices_of_the_blocks_are_muons(tiny: Callable[[str], ModelConfig]) -> None:
    """Two a block; no filter, no head, no patch embedding."""
    model = fresh(tiny("gfnet-distil"), 0)
    mlp = {id(p) for name, p in model.named_parameters() if ".mlp." in name and "weight" in name}
    assert {id(p) for p in block_matrices(model)} == mlp


def test_a_torch_without_muon_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says from which torch on there is one."""
    monkeypatch.delattr(torch.optim, "Muon", raising=False)
    matrix = nn.Parameter(torch.eye(2))
    with pytest.raises(ValueError, match=r"torch 2\.9 or newer"):
        Optimisation([matrix], replace(SCHEDULE, optimizer="muon"), [matrix])
