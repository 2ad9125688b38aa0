"""What a student learns of its teacher."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from gfnet import GFNet, ModelConfig
from gfnet.model import GFNetDistil
from gfnet.training.data import Augment, Samples, TrainingData
from gfnet.training.distillation import teaching_loss, train_student
from gfnet.training.loop import fresh
from gfnet.training.progress import EpochReport
from gfnet.training.settings import Schedule, Teaching

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


def _student(
    tiny: Callable[[str], ModelConfig],
    data: TrainingData,
    augment: Augment,
    schedule: Schedule,
    teacher: GFNet,
) -> tuple[GFNetDistil, list[EpochReport]]:
    model, reports = fresh(tiny("gfnet-distil"), 1), list[EpochReport]()
    assert isinstance(model, GFNetDistil)
    train_student(
        model,
        teacher,
        data=data,
        schedule=schedule,
        augment=augment,
        teaching=Teaching("hard"),
        report=reports.append,
    )
    return model, reports


def test_the_class_head_learns_labels_and_the_distillation_head_the_teacher(
    tiny: Callable[[str], ModelConfig], data: TrainingData, augment: Augment, schedule: Schedule
) -> None:
    """Of a teacher that is always wrong the distillation head learns just that."""
    schedule = replace(schedule, epochs=30)
    model, _ = _student(tiny, data, augment, schedule, _Shifted(tiny("gfnet")))
    samples: Samples = data.train
    tokens = model.embed(samples.images)
    for block in model.blocks:
        tokens = block(tokens)
    by_class, by_distillation = (logits.argmax(dim=1) for logits in model.readout_pair(tokens))
    assert (by_class == samples.labels).float().mean() > 0.8
    assert (by_distillation == (samples.labels + 1) % 4).float().mean() > 0.8


def test_the_teacher_does_not_change(
    tiny: Callable[[str], ModelConfig], data: TrainingData, augment: Augment, schedule: Schedule
) -> None:
    """Its weights are the same afterwards, and hold no gradients."""
    teacher = fresh(tiny("gfnet"), 0)
    before = [parameter.clone() for parameter in teacher.parameters()]
    _student(tiny, data, augment, schedule, teacher)
    assert all(map(torch.equal, before, teacher.parameters()))
    assert all(parameter.grad is None for parameter in teacher.parameters())


def test_a_student_reproduces(
    tiny: Callable[[str], ModelConfig], data: TrainingData, augment: Augment, schedule: Schedule
) -> None:
    """The same seed gives the same weights, to the last bit."""
    teacher = fresh(tiny("gfnet"), 0)
    first, _ = _student(tiny, data, augment, schedule, teacher)
    again, _ = _student(tiny, data, augment, schedule, teacher)
    assert all(map(torch.equal, first.parameters(), again.parameters()))
