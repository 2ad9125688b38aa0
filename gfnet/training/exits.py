"""The third stage: a distilled student grows exits, and gates that choose among them.

JEI-DNN (Regol et al., ICLR 2024): backbone, final norm and final heads are frozen. The heads of the
enabled exits warm up alone; then phases alternate, the gates learning where each image should
leave, and the heads learning the images that leave at them. `rules` has each rule by itself.
"""

from __future__ import annotations

import copy
import math
from dataclasses import replace

from gfnet.model import GFNetDistil, GFNetDistilDynn
from gfnet.training.data import Augment, Samples, TrainingData
from gfnet.training.exit_stage import ExitOutcome, ExitStage
from gfnet.training.loop import fresh, seeded
from gfnet.training.progress import Progress, Report
from gfnet.training.settings import ExitTraining, Schedule


def with_fresh_exits(
    student: GFNetDistil, exit_blocks: tuple[int, ...], seed: int
) -> GFNetDistilDynn:
    """A model that answers as `student` does at full depth, with untrained exits.

    Raises:
        ConfigError: no such model can have these exits.
    """
    config = replace(student.config, family="gfnet-distil-dynn", exit_blocks=exit_blocks)
    model = fresh(config, seed)
    assert isinstance(model, GFNetDistilDynn)  # noqa: S101 - an invariant: the family says so
    model.load_state_dict(model.state_dict() | student.state_dict())
    return model


def phase_of(epoch: int, warmup_epochs: int, phase_epochs: int) -> str:
    """What learns in an epoch: `warm-up` (the heads alone), then `gates` and `heads` in turn.

    Args:
        epoch: counted from 1.
        warmup_epochs: of the heads alone.
        phase_epochs: of each turn.
    """
    since = epoch - warmup_epochs - 1
    if since < 0:
        return "warm-up"
    return "heads" if since // phase_epochs % 2 else "gates"


def train_exits(
    model: GFNetDistilDynn,
    *,
    data: TrainingData,
    schedule: Schedule,
    training: ExitTraining,
    augment: Augment,
    report: Report,
) -> ExitOutcome:
    """Train the heads and gates of the enabled exits; nothing else of the model changes.

    The best epoch, of those in which there are trained gates, has the least mean of cross entropy
    plus lambda times cost over the held-out images, each routed at THRESHOLD.

    Args:
        model: holds the best epoch's weights afterwards.
        data: what is learned from, and chosen by.
        schedule: how long and how fast; its warm-up is that of the heads.
        training: lambda, and how phases alternate.
        augment: of the training images.
        report: gets one report an epoch.

    Raises:
        LossNotFiniteError: the loss became NaN or infinite.
    """
    stage = ExitStage(model, schedule, training)
    progress = Progress(schedule.epochs, report)
    best, best_state, outcome = math.inf, model.state_dict(), ExitOutcome(0, 0.0, 0.0)
    for epoch in range(1, schedule.epochs + 1):
        phase = phase_of(epoch, schedule.warmup_epochs, training.phase_epochs)
        with seeded(schedule.seed, epoch):
            for images, labels in data.train.shuffled().batches(schedule.batch_size):
                progress.step(stage.step(phase, Samples(augment(images), labels)), len(labels))
        objective, routed = stage.validate(epoch, data.validation)
        progress.finish(phase, routed.validation_accuracy)
        if phase != "warm-up" and objective < best:
            best, outcome, best_state = objective, routed, copy.deepcopy(model.state_dict())
    model.load_state_dict(best_state)
    model.requires_grad_(True)  # as it came
    return outcome
