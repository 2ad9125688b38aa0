"""What a student learns of its teacher."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from gfnet import GFNet, ModelConfig, Preprocessing
from gfnet.model import GFNetDistil
from gfnet.training.data import Batch, Prepare, TrainingData
from gfnet.training.distillation import student_loss, teaching_loss
from gfnet.training.engine import Engine
from gfnet.training.loop import fresh
from gfnet.training.settings import EpochSchedule, Teaching
from gfnet.training.whole import WholeModel

SURE = torch.tensor([[math.log(3), 0.0]])  # 3/4 and 1/4


def test_hard_teaching_is_cross_entropy_with_the_teachers_class() -> None:
    """A teacher that is barely for the second class teaches all of it: -ln 1/4."""
    loss = teaching_loss(SURE, torch.tensor([[0.0, 0.1]]), Teaching("hard"))
    assert loss.item() == pytest.approx(math.log(4))


def test_soft_teaching_is_the_divergence_from_the_teacher() -> None:
    """At temperature 1: 1/2 ln (1/2)/(3/4) + 1/2 ln (1/2)/(1/4)."""
    loss = teaching_loss(SURE, torch.zeros(1, 2), Teaching("soft", temperature=1.0))
    assert loss.item() == pytest.approx(0.5 * math.log(2 / 3) + 0.5 * math.log(2))


def test_soft_teaching_softens_both_sides_and_keeps_the_gradients_size() -> None:
    """At temperature 2 of doubled logits it is four times that at temperature 1."""
    once = teaching_loss(SURE, torch.zeros(1, 2), Teaching("soft", temperature=1.0))
    twice = teaching_loss(2 * SURE, torch.zeros(1, 2), Teaching("soft", temperature=2.0))
    assert twice.item() == pytest.approx(4 * once.item())


@pytest.mark.parametrize("teaching", [Teaching("hard"), Teaching("soft", 2.0)])
def test_a_student_that_agrees_has_little_to_learn(teaching: Teaching) -> None:
    """Equal and sure logits cost next to nothing."""
    logits = torch.tensor([[20.0, 0.0, 0.0]])
    assert teaching_loss(logits, logits, teaching).item() == pytest.approx(0, abs=1e-6)


class _Shifted(GFNet):
    """A teacher that is sure of the class after the true one, which the brightest quarter is."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits of the quarter after the brightest."""
        quarters = images.mean(dim=1).unfold(1, 4, 4).unfold(2, 4, 4).mean(dim=(3, 4)).flatten(1)
        return quarters.roll(1, dims=1) * 20


@pytest.fixture
def student(
    tiny: Callable[[str], ModelConfig],
    data: TrainingData,
    schedule: EpochSchedule,
    preprocessing: Preprocessing,
    engine: Engine,
    run: Callable[..., Any],
) -> Callable[..., GFNetDistil]:
    """Train a tiny student on a teacher."""

    def train(teacher: GFNet, epochs: int = 6) -> GFNetDistil:
        model = fresh(tiny("gfnet-distil"), 1)
        assert isinstance(model, GFNetDistil)
        lengthened = replace(schedule, epochs=epochs)
        learner = WholeModel(
            model,
            student_loss(model, teacher, Teaching("hard"), label_smoothing=0.0),
            schedule=lengthened,
            images=len(data.train.labels),
            preprocessing=preprocessing,
            engine=engine,
        )
        model.load_state_dict(run(learner, schedule=lengthened).learned.weights)
        return model

    return train


Student = Callable[..., GFNetDistil]


def test_the_class_head_learns_labels_and_the_distillation_head_the_teacher(
    tiny: Callable[[str], ModelConfig], data: TrainingData, prepare: Prepare, student: Student
) -> None:
    """Of a teacher that is always wrong the distillation head learns just that."""
    model = student(_Shifted(tiny("gfnet")), epochs=30)
    images, labels = prepare(data.train)
    tokens = model.embed(images)
    for block in model.blocks:
        tokens = block(tokens)
    by_class, by_distillation = (logits.argmax(dim=1) for logits in model.readout_pair(tokens))
    assert (by_class == labels).float().mean() > 0.8
    assert (by_distillation == (labels + 1) % 4).float().mean() > 0.8


def test_the_teacher_does_not_change(tiny: Callable[[str], ModelConfig], student: Student) -> None:
    """Its weights are the same afterwards, and hold no gradients."""
    teacher = fresh(tiny("gfnet"), 0)
    before = [parameter.clone() for parameter in teacher.parameters()]
    student(teacher)
    assert all(map(torch.equal, before, teacher.parameters()))
    assert all(parameter.grad is None for parameter in teacher.parameters())


def test_a_student_reproduces(tiny: Callable[[str], ModelConfig], student: Student) -> None:
    """The same seed gives the same weights, to the last bit."""
    teacher = fresh(tiny("gfnet"), 0)
    assert all(map(torch.equal, student(teacher).parameters(), student(teacher).parameters()))


def test_the_losses_of_both_heads_weigh_the_same(tiny: Callable[[str], ModelConfig]) -> None:
    """An untrained student of four classes: (ln 4 + ln 4) / 2, whatever the teacher is sure of."""
    model = fresh(tiny("gfnet-distil"), 1)
    assert isinstance(model, GFNetDistil)
    for head in (model.head, model.head_dist):
        torch.nn.init.zeros_(head.weight)
    loss_of = student_loss(model, _Shifted(tiny("gfnet")), Teaching("hard"), label_smoothing=0.0)
    loss = loss_of(Batch(torch.randn(5, 3, 8, 8), torch.tensor([0, 1, 2, 3, 0])))
    assert loss.item() == pytest.approx(math.log(4))
