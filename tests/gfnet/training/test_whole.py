"""A whole model that learns: it reproduces, also across a kill, and may be averaged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from gfnet import ModelConfig, Preprocessing
from gfnet.training.baseline import label_loss, take_over
from gfnet.training.data import Batch, Prepare, TrainingData
from gfnet.training.engine import Engine
from gfnet.training.loop import fresh
from gfnet.training.settings import EpochSchedule
from gfnet.training.whole import WholeModel, validate

Baseline = Callable[..., WholeModel]


@pytest.fixture
def baseline(
    tiny: Callable[[str], ModelConfig],
    data: TrainingData,
    schedule: EpochSchedule,
    preprocessing: Preprocessing,
    engine: Engine,
) -> Baseline:
    """A tiny baseline, untrained; a schedule and an engine may be given."""

    def make(schedule: EpochSchedule = schedule, engine: Engine = engine) -> WholeModel:
        model = fresh(tiny("gfnet"), schedule.seed)
        return WholeModel(
            model,
            label_loss(model, 0.1),
            schedule=schedule,
            images=len(data.train.labels),
            preprocessing=preprocessing,
            engine=engine,
        )

    return make


def test_label_smoothing_spreads_its_share_over_all_classes(
    tiny: Callable[[str], ModelConfig],
) -> None:
    """Cross entropy of hand-made logits: 0.925 of -ln p of the label, 0.025 of each other's."""
    model = fresh(tiny("gfnet"), 0)
    images = torch.randn(3, 3, 8, 8)
    logs = model(images).log_softmax(dim=1)
    expected = -(0.9 * logs[:, 2] + 0.1 * logs.mean(dim=1)).mean()
    loss = label_loss(model, 0.1)(Batch(images, torch.tensor([2, 2, 2])))
    torch.testing.assert_close(loss, expected)


@pytest.mark.parametrize(("classes", "is_kept"), [(4, True), (7, False)])
def test_existing_weights_are_taken_over(
    tiny: Callable[[str], ModelConfig], classes: int, *, is_kept: bool
) -> None:
    """All of them; but a head of other classes is learned anew."""
    start, model = fresh(replace(tiny("gfnet"), num_classes=classes), 1), fresh(tiny("gfnet"), 0)
    head = model.head.weight.clone()
    take_over(model, start)
    assert torch.equal(model.blocks[0].mlp.fc1.weight, start.blocks[0].mlp.fc1.weight)
    assert torch.equal(model.head.weight, start.head.weight if is_kept else head)


def test_a_baseline_learns(
    baseline: Baseline, run: Callable[..., Any], schedule: EpochSchedule
) -> None:
    """Four quarters are told apart after forty epochs; guessing finds 25 percent."""
    longer = replace(schedule, epochs=40)
    course = run(baseline(longer), schedule=longer)
    assert course.learned.outcome.validation_accuracy > 60
    assert course.reports[-1].loss < course.reports[0].loss


def test_the_outcome_is_that_of_the_weights(
    baseline: Baseline,
    run: Callable[..., Any],
    data: TrainingData,
    prepare: Prepare,
    engine: Engine,
) -> None:
    """Their accuracy is the outcome's, which is the best of all reports."""
    learner = baseline()
    learned, reports, _ = run(learner)
    learner.model.load_state_dict(learned.weights)
    accuracy, _ = validate(learner.model, data.validation, prepare, engine)
    assert accuracy == learned.outcome.validation_accuracy
    assert accuracy == max(report.validation.accuracy for report in reports)


def test_the_same_seed_gives_the_same_weights(
    baseline: Baseline, run: Callable[..., Any], schedule: EpochSchedule
) -> None:
    """To the last bit, whatever state torch's generator is in; another seed gives others."""
    first = run(baseline()).learned.weights
    torch.manual_seed(99)
    again = run(baseline()).learned.weights
    changed = replace(schedule, seed=4)
    other = run(baseline(changed), schedule=changed).learned.weights
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["head.weight"], other["head.weight"])


@pytest.mark.parametrize(
    ("ema_decay", "optimizer"), [(0.0, "adamw"), (0.9, "adamw"), (0.9, "muon")]
)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_an_interrupted_training_ends_as_one_that_was_not(
    baseline: Baseline,
    run: Callable[..., Any],
    schedule: EpochSchedule,
    ema_decay: float,
    optimizer: str,
    precision: str,
) -> None:
    """Taken up after the second and again after the fourth epoch: the same bits."""
    _needs_its_torch(optimizer)
    averaged = replace(schedule, ema_decay=ema_decay, optimizer=optimizer)
    engine = Engine(torch.device("cpu"), precision)
    whole = run(baseline(averaged, engine), schedule=averaged)
    part = run(baseline(averaged, engine), schedule=averaged, saved=whole.states[1])
    last = run(baseline(averaged, engine), schedule=averaged, saved=part.states[1])
    assert [report.epoch for report in last.reports] == [5, 6]
    assert last.learned.outcome == whole.learned.outcome
    weights = whole.learned.weights
    assert all(torch.equal(weights[name], last.learned.weights[name]) for name in weights)
    assert _equal(whole.states[-1]["learner"], last.states[-1]["learner"])


def _needs_its_torch(optimizer: str) -> None:
    if optimizer == "muon" and not hasattr(torch.optim, "Muon"):
        pytest.skip("this torch has no Muon")


def _equal(left: Any, right: Any) -> bool:
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(_equal(left[k], right[k]) for k in left)
    if isinstance(left, (list, tuple)):
        return len(left) == len(right) and all(map(_equal, left, right))
    return torch.equal(left, right) if isinstance(left, torch.Tensor) else bool(left == right)


def test_an_average_moves_by_its_share(
    baseline: Baseline, schedule: EpochSchedule, data: TrainingData, prepare: Prepare
) -> None:
    """The first step is taken whole, the second by a tenth: average + (weights - average) / 10."""
    learner = baseline(replace(schedule, ema_decay=0.9))
    learner.begin(1)
    learner.step(prepare(data.train))
    first = {name: tensor.clone() for name, tensor in learner.model.state_dict().items()}
    torch.testing.assert_close(dict(learner.weights()), first)
    learner.step(prepare(data.train))
    second = learner.model.state_dict()
    expected = {name: first[name] + 0.1 * (second[name] - first[name]) for name in first}
    torch.testing.assert_close(dict(learner.weights()), expected)


def test_half_precision_learns_as_well(baseline: Baseline, run: Callable[..., Any]) -> None:
    """bfloat16 products give other bits and a similar loss; weights stay float32."""
    full = run(baseline())
    half = run(baseline(engine=Engine(torch.device("cpu"), "bfloat16")))
    assert half.reports[-1].loss == pytest.approx(full.reports[-1].loss, rel=0.05)
    assert half.reports[-1].loss != full.reports[-1].loss
    assert {tensor.dtype for tensor in half.learned.weights.values()} == {torch.float32}
