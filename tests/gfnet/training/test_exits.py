"""The stage of the exits: who learns when, what stays, and what comes out."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.nn import functional

from gfnet import ConfigError, ModelConfig, Preprocessing
from gfnet.config import configure
from gfnet.model import GFNet
from gfnet.training.data import Batch, Prepare, TrainingData
from gfnet.training.engine import Engine
from gfnet.training.exit_stage import ExitStage
from gfnet.training.exits import phase_of, with_fresh_exits
from gfnet.training.loop import fresh
from gfnet.training.settings import EpochSchedule, ExitTraining

EXITS = (0, 2)  # of blocks 0..3: block 1 is not enabled
TRAINING = ExitTraining(cost_weight=0.5, phase_epochs=1)


@pytest.fixture(params=["gfnet-distil", "gfnet"])
def student(request: pytest.FixtureRequest, tiny: Callable[[str], ModelConfig]) -> GFNet:
    """An untrained model of four blocks without exits."""
    return fresh(tiny(request.param), 0)


def test_exits_of_a_hierarchical_model_learn(schedule: EpochSchedule, engine: Engine) -> None:
    """In each phase: exits of two widths, on a body that is frozen or learns with them."""
    sizes: dict[str, Any] = {"embed_dims": (4, 6, 5, 8), "depths": (1, 1, 1, 1)}
    static = fresh(configure("gfnet-h", img_size=32, num_classes=4, **sizes), 0)
    learner = ExitStage(
        with_fresh_exits(static, (0, 1), seed=0),
        schedule=replace(schedule, warmup_epochs=1),
        training=replace(TRAINING, joint_epochs=1),
        images=16,
        preprocessing=Preprocessing(32, 32),
        engine=engine,
    )
    batch = Batch(torch.randn(16, 3, 32, 32), torch.arange(16) % 4)
    exits = {f"intermediate_{kind}.{number}" for kind in ("norms", "heads") for number in (0, 1)}
    for epoch, trained in ((1, exits), (3, {"gates.0", "gates.1"}), (4, exits)):
        before = {name: tensor.clone() for name, tensor in learner.model.state_dict().items()}
        learner.begin(epoch)
        learner.step(batch)
        assert _changed(before, learner.model) == trained
    before = {name: tensor.clone() for name, tensor in learner.model.state_dict().items()}
    learner.begin(2)
    learner.step(batch)
    assert {"blocks.3", "patch_embed.2", "head.weight"} | exits <= _changed(before, learner.model)


@pytest.fixture
def stage(
    student: GFNet,
    data: TrainingData,
    schedule: EpochSchedule,
    preprocessing: Preprocessing,
    engine: Engine,
) -> Callable[..., ExitStage]:
    """Exits grown on the student, untrained; how they learn may be given."""

    def make(training: ExitTraining = TRAINING, engine: Engine = engine) -> ExitStage:
        return ExitStage(
            with_fresh_exits(student, EXITS, seed=0),
            schedule=replace(schedule, warmup_epochs=2),
            training=training,
            images=len(data.train.labels),
            preprocessing=preprocessing,
            engine=engine,
        )

    return make


Stage = Callable[..., ExitStage]
Run = Callable[..., Any]


def _changed(before: dict[str, torch.Tensor], model: GFNet) -> set[str]:
    """The parts of a model, by their first two names, that differ from a state before."""
    state = model.state_dict()
    return {".".join(k.split(".")[:2]) for k in state if not torch.equal(state[k], before[k])}


def test_fresh_exits_leave_the_full_depth_as_it_was(student: GFNet) -> None:
    """The grown model answers as the student does when nobody leaves early."""
    images = torch.randn(5, 3, 8, 8)
    with torch.no_grad():
        assert torch.equal(with_fresh_exits(student, EXITS, seed=0)(images), student(images))


def test_fresh_exits_must_be_blocks_that_can_be_left(student: GFNet) -> None:
    """The last block is no early exit."""
    with pytest.raises(ConfigError, match=r"after blocks 0\.\.2"):
        with_fresh_exits(student, (0, 3), seed=0)


def test_phases_alternate_after_the_warm_up() -> None:
    """Two epochs of warm-up, one joint, then two a phase, the gates first."""
    training = ExitTraining(cost_weight=0.5, phase_epochs=2, joint_epochs=1)
    phases = [phase_of(epoch, 2, training) for epoch in range(1, 10)]
    assert phases == ["warm-up"] * 2 + ["joint"] + ["gates"] * 2 + ["heads"] * 2 + ["gates"] * 2


def test_only_heads_and_gates_of_the_enabled_exits_change(stage: Stage, run: Run) -> None:
    """Backbone, norm, final heads and the exit that is not enabled stay, to the last bit."""
    learner = stage()
    before = {name: tensor.clone() for name, tensor in learner.model.state_dict().items()}
    run(learner)
    assert _changed(before, learner.model) == {*_exit_parts(learner.model), *_gates(learner.model)}


def _exit_parts(model: GFNet) -> set[str]:
    """Heads of a student are numbered by block, those of a flat model in their order."""
    if model.config.has_tokens:
        kinds = ("intermediate_heads", "intermediate_heads_dist")
        return {f"{kind}.{block}" for kind in kinds for block in EXITS}
    return {"intermediate_heads.0", "intermediate_heads.1"}


def _gates(model: GFNet) -> set[str]:
    return {f"gates.{number}" for number in (EXITS if model.config.has_tokens else (0, 1))}


def _backbone(model: GFNet) -> set[str]:
    parts = {*(f"blocks.{block}" for block in range(4)), "pos_embed", "patch_embed.proj"}
    ends = {"norm", "head"}
    if model.config.has_tokens:
        parts |= {"cls_token", "dist_token"}
        ends |= {"head_dist"}
    return parts | {f"{part}.{kind}" for part in ends for kind in ("weight", "bias")}


@pytest.mark.parametrize(
    ("epoch", "kinds"),
    [(1, [_exit_parts]), (3, [_exit_parts, _backbone]), (4, [_gates]), (5, [_exit_parts])],
)
def test_each_phase_trains_its_own_part(
    stage: Stage,
    data: TrainingData,
    prepare: Prepare,
    epoch: int,
    kinds: list[Callable[[GFNet], set[str]]],
) -> None:
    """Warm-up, joint, gates, heads: gates alone learn in theirs, the backbone in joint epochs."""
    learner = stage(replace(TRAINING, joint_epochs=1))
    before = {name: tensor.clone() for name, tensor in learner.model.state_dict().items()}
    learner.begin(epoch)
    learner.step(prepare(data.train))
    assert _changed(before, learner.model) == {
        part for kind in kinds for part in kind(learner.model)
    }


def test_the_joint_loss_is_the_mean_of_all_exits(
    stage: Stage, data: TrainingData, prepare: Prepare
) -> None:
    """The last exit's included."""
    learner = stage(replace(TRAINING, joint_epochs=1))
    batch = prepare(data.train)
    logits = learner.model.forward_exits(batch.images).logits
    losses = [functional.cross_entropy(logits[e], batch.targets) for e in range(3)]
    learner.begin(3)
    assert learner.step(batch) == pytest.approx(sum(losses).item() / 3)


@pytest.mark.parametrize(("cost_weight", "exit_block"), [(100.0, 0), (-100.0, 3)])
def test_gates_learn_the_target_exit(
    stage: Stage, data: TrainingData, prepare: Prepare, cost_weight: float, exit_block: int
) -> None:
    """Where only cost counts everything leaves first; were cost a gain, last."""
    learner = stage(ExitTraining(cost_weight, phase_epochs=1))
    learner.begin(3)
    batch = prepare(data.train)
    for _ in range(200):
        learner.step(batch)
    blocks = learner.model.route(batch.images, 0.5).exit_block
    assert blocks.unique().tolist() == [exit_block]


def test_the_outcome_is_that_of_the_weights(
    stage: Stage, run: Run, data: TrainingData, prepare: Prepare
) -> None:
    """Accuracy and blocks are those of routing the held-out images at 0.5."""
    learner = stage()
    learned, reports, _ = run(learner)
    learner.model.load_state_dict(learned.weights)
    routed = learner.model.route(prepare(data.validation).images, 0.5)
    correct = (routed.logits.argmax(dim=1) == data.validation.labels).float().mean().item() * 100
    outcome = learned.outcome
    best = reports[outcome.best_epoch - 1].validation
    assert outcome.validation_accuracy == correct == best.accuracy
    assert outcome.validation_blocks == (routed.exit_block + 1).float().mean().item()


def test_no_epoch_before_the_first_gates_is_chosen(stage: Stage, run: Run) -> None:
    """Reports name the phases, and the best epoch comes after warm-up and joint epochs."""
    learned, reports, _ = run(stage(replace(TRAINING, joint_epochs=1)))
    phases = [report.phase for report in reports]
    assert phases == ["warm-up", "warm-up", "joint", "gates", "heads", "gates"]
    assert learned.outcome.best_epoch > 3


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("after", [1, 3, 4])
def test_an_interrupted_training_ends_as_one_that_was_not(
    stage: Stage, run: Run, after: int, precision: str
) -> None:
    """Taken up within the warm-up, within a gates' phase and before the heads': the same bits."""
    training = ExitTraining(cost_weight=0.5, phase_epochs=2)
    engine = Engine(torch.device("cpu"), precision)
    whole = run(stage(training, engine))
    rest = run(stage(training, engine), saved=whole.states[after - 1])
    weights = whole.learned.weights
    assert rest.learned.outcome == whole.learned.outcome
    assert all(torch.equal(weights[name], rest.learned.weights[name]) for name in weights)


def test_an_interrupted_joint_phase_ends_as_one_that_was_not(stage: Stage, run: Run) -> None:
    """Its learning rate, which falls, is taken up too."""
    training = ExitTraining(cost_weight=0.5, phase_epochs=1, joint_epochs=2)
    whole = run(stage(training))
    rest = run(stage(training), saved=whole.states[2])
    weights = whole.learned.weights
    assert all(torch.equal(weights[name], rest.learned.weights[name]) for name in weights)
    assert whole.reports[3].learning_rate < whole.reports[2].learning_rate
