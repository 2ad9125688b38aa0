"""The epochs of a whole model: it learns, reproduces, keeps the best, and stops on NaN."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from gfnet import GFNet, ModelConfig
from gfnet.training.baseline import train_baseline
from gfnet.training.data import Augment, TrainingData
from gfnet.training.loop import Outcome, fit, fresh, seeded, validate
from gfnet.training.progress import EpochReport, LossNotFiniteError
from gfnet.training.settings import Schedule


@pytest.fixture
def train(
    tiny: Callable[[str], ModelConfig], data: TrainingData, augment: Augment
) -> Callable[[Schedule], tuple[GFNet, Outcome, list[EpochReport]]]:
    """Train a tiny baseline: the model, its outcome and the reports."""

    def run(schedule: Schedule) -> tuple[GFNet, Outcome, list[EpochReport]]:
        model, reports = fresh(tiny("gfnet"), schedule.seed), list[EpochReport]()
        outcome = train_baseline(
            model,
            data=data,
            schedule=schedule,
            augment=augment,
            label_smoothing=0.1,
            report=reports.append,
        )
        return model, outcome, reports

    return run


Train = Callable[[Schedule], tuple[GFNet, Outcome, list[EpochReport]]]


def test_a_baseline_learns(train: Train, schedule: Schedule) -> None:
    """Four quarters are told apart after forty epochs; guessing finds 25 percent."""
    _, outcome, reports = train(replace(schedule, epochs=40))
    assert outcome.validation_accuracy > 60
    assert reports[-1].loss < reports[0].loss


def test_the_model_holds_the_weights_of_the_best_epoch(
    train: Train, schedule: Schedule, data: TrainingData
) -> None:
    """Its accuracy is the outcome's, which is the best of all reports."""
    model, outcome, reports = train(schedule)
    accuracy, _ = validate(model, data.validation)
    assert accuracy == outcome.validation_accuracy
    assert accuracy == max(report.validation_accuracy for report in reports)
    assert reports[outcome.best_epoch - 1].validation_accuracy == accuracy


def test_every_epoch_is_reported(train: Train, schedule: Schedule) -> None:
    """Six reports, counted from 1, the last with nothing left."""
    _, _, reports = train(schedule)
    assert [report.epoch for report in reports] == [1, 2, 3, 4, 5, 6]
    assert reports[-1].seconds_left == 0


def test_the_same_seed_gives_the_same_weights(train: Train, schedule: Schedule) -> None:
    """To the last bit, whatever state torch's generator is in; another seed gives others."""
    first, *_ = train(schedule)
    torch.manual_seed(99)
    again, *_ = train(schedule)
    other, *_ = train(replace(schedule, seed=4))
    assert all(map(torch.equal, first.parameters(), again.parameters()))
    assert not torch.equal(first.head.weight, other.head.weight)


def test_training_leaves_torchs_generator_alone() -> None:
    """What is drawn after a seeded block is what would have been drawn without it."""
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    with seeded(1, 1):
        torch.rand(5)
    assert torch.equal(torch.rand(3), expected)


def test_each_epoch_draws_its_own_numbers() -> None:
    """Two epochs of a seed differ, and one repeats."""
    drawn = []
    for epoch in (1, 2, 1):
        with seeded(0, epoch):
            drawn.append(torch.rand(4))
    assert torch.equal(drawn[0], drawn[2])
    assert not torch.equal(drawn[0], drawn[1])


def test_a_nan_loss_stops_at_once(
    tiny: Callable[[str], ModelConfig], data: TrainingData, augment: Augment, schedule: Schedule
) -> None:
    """The first step already; no epoch is reported."""
    model, reports = fresh(tiny("gfnet"), 0), list[EpochReport]()

    def broken(batch: tuple[Tensor, Tensor]) -> Tensor:
        return model(batch[0]).sum() * float("nan")

    with pytest.raises(LossNotFiniteError, match="the loss became nan in epoch 1 of 6"):
        fit(model, broken, data=data, schedule=schedule, augment=augment, report=reports.append)
    assert reports == []
