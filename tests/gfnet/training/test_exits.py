"""The stage of the exits: who learns when, what stays, and what comes out."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from gfnet import ConfigError, ModelConfig
from gfnet.model import GFNetDistil, GFNetDistilDynn
from gfnet.training.data import Augment, TrainingData
from gfnet.training.exit_stage import ExitOutcome, ExitStage
from gfnet.training.exits import phase_of, train_exits, with_fresh_exits
from gfnet.training.loop import fresh
from gfnet.training.progress import EpochReport
from gfnet.training.settings import ExitTraining, Schedule

EXITS = (0, 2)  # of blocks 0..3: block 1 is not enabled


@pytest.fixture
def student(tiny: Callable[[str], ModelConfig]) -> GFNetDistil:
    """An untrained student of four blocks."""
    model = fresh(tiny("gfnet-distil"), 0)
    assert isinstance(model, GFNetDistil)
    return model


@pytest.fixture
def train(
    student: GFNetDistil, data: TrainingData, augment: Augment, schedule: Schedule
) -> Callable[[], tuple[GFNetDistilDynn, ExitOutcome, list[EpochReport]]]:
    """Grow exits on the student: the model, its outcome and the reports."""

    def run() -> tuple[GFNetDistilDynn, ExitOutcome, list[EpochReport]]:
        model, reports = with_fresh_exits(student, EXITS, seed=0), list[EpochReport]()
        outcome = train_exits(
            model,
            data=data,
            schedule=replace(schedule, epochs=6, warmup_epochs=2),
            training=ExitTraining(cost_weight=0.5, phase_epochs=1),
            augment=augment,
            report=reports.append,
        )
        return model, outcome, reports

    return run


Train = Callable[[], tuple[GFNetDistilDynn, ExitOutcome, list[EpochReport]]]


def _changed(before: dict[str, torch.Tensor], model: GFNetDistilDynn) -> set[str]:
    """The parts of a model, by their first two names, that differ from a state before."""
    state = model.state_dict()
    return {".".join(k.split(".")[:2]) for k in state if not torch.equal(state[k], before[k])}


def test_fresh_exits_leave_the_full_depth_as_it_was(student: GFNetDistil) -> None:
    """The grown model answers as the student does when nobody leaves early."""
    images = torch.randn(5, 3, 8, 8)
    with torch.no_grad():
        assert torch.equal(with_fresh_exits(student, EXITS, seed=0)(images), student(images))


def test_fresh_exits_must_be_blocks_that_can_be_left(student: GFNetDistil) -> None:
    """The last block is no early exit."""
    with pytest.raises(ConfigError, match=r"after blocks 0\.\.2"):
        with_fresh_exits(student, (0, 3), seed=0)


def test_phases_alternate_after_the_warm_up() -> None:
    """Two epochs of warm-up, then two a phase, the gates first."""
    phases = [phase_of(epoch, 2, 2) for epoch in range(1, 9)]
    assert phases == ["warm-up"] * 2 + ["gates"] * 2 + ["heads"] * 2 + ["gates"] * 2


def test_only_heads_and_gates_of_the_enabled_exits_change(
    train: Train, student: GFNetDistil
) -> None:
    """Backbone, norm, final heads and the exit that is not enabled stay, to the last bit."""
    before = with_fresh_exits(student, EXITS, seed=0).state_dict()
    model, _, _ = train()
    parts = ("intermediate_heads", "intermediate_heads_dist", "gates")
    assert _changed(before, model) == {f"{part}.{block}" for part in parts for block in EXITS}


@pytest.mark.parametrize(
    ("phase", "parts"),
    [
        ("warm-up", ("intermediate_heads", "intermediate_heads_dist")),
        ("gates", ("gates",)),
        ("heads", ("intermediate_heads", "intermediate_heads_dist")),
    ],
)
def test_each_phase_trains_its_own_part(
    student: GFNetDistil, data: TrainingData, schedule: Schedule, phase: str, parts: tuple[str, ...]
) -> None:
    """Gates learn in gate phases; both heads of an exit in the warm-up and in head phases."""
    model = with_fresh_exits(student, EXITS, seed=0)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    stage = ExitStage(model, schedule, ExitTraining(cost_weight=0.5, phase_epochs=1))
    stage.step(phase, data.train)
    assert _changed(before, model) == {f"{part}.{block}" for part in parts for block in EXITS}


@pytest.mark.parametrize(("cost_weight", "exit_block"), [(100.0, 0), (-100.0, 3)])
def test_gates_learn_the_target_exit(
    student: GFNetDistil,
    data: TrainingData,
    schedule: Schedule,
    cost_weight: float,
    exit_block: int,
) -> None:
    """Where only cost counts everything leaves first; were cost a gain, last."""
    model = with_fresh_exits(student, EXITS, seed=0)
    stage = ExitStage(model, schedule, ExitTraining(cost_weight, phase_epochs=1))
    for _ in range(200):
        stage.step("gates", data.train)
    blocks = model.route(data.train.images, 0.5).exit_block
    assert blocks.unique().tolist() == [exit_block]


def test_the_outcome_is_that_of_the_model(train: Train, data: TrainingData) -> None:
    """Accuracy and blocks are those of routing the held-out images at 0.5."""
    model, outcome, reports = train()
    routed = model.route(data.validation.images, 0.5)
    correct = (routed.logits.argmax(dim=1) == data.validation.labels).float().mean().item() * 100
    assert (
        outcome.validation_accuracy
        == correct
        == reports[outcome.best_epoch - 1].validation_accuracy
    )
    assert outcome.validation_blocks == (routed.exit_block + 1).float().mean().item()


def test_no_epoch_before_the_first_gates_is_chosen(train: Train) -> None:
    """Reports name the phases, and the best epoch comes after the warm-up."""
    _, outcome, reports = train()
    phases = [report.phase for report in reports]
    assert phases == ["warm-up", "warm-up", "gates", "heads", "gates", "heads"]
    assert outcome.best_epoch > 2


def test_exits_reproduce(train: Train) -> None:
    """The same seed gives the same weights, to the last bit, and they can be trained again."""
    (first, *_), (again, *_) = train(), train()
    assert all(map(torch.equal, first.parameters(), again.parameters()))
    assert all(parameter.requires_grad for parameter in first.parameters())
