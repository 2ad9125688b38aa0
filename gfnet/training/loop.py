"""The epochs of a training: order, validation, the best one, and the state that outlives a kill."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from gfnet.config import ModelConfig
from gfnet.model import GFNet, build
from gfnet.training.data import Augment, Batch, Samples, TrainingData
from gfnet.training.progress import LossNotFiniteError, Progress, Report, Validation
from gfnet.training.settings import Schedule
from gfnet.training.state import StateFile


@dataclass(frozen=True)
class Outcome:
    """What the best epoch was; the model holds its weights.

    Attributes:
        best_epoch: counted from 1.
        validation_accuracy: top-1 of the held-out images, percent; of exits as routed.
        validation_blocks: that a held-out image runs on average; None where none leaves early.
    """

    best_epoch: int
    validation_accuracy: float
    validation_blocks: float | None = None


class Verdict(NamedTuple):
    """What an epoch came to on the held-out images.

    Attributes:
        accuracy: top-1, percent.
        loss: mean cross entropy, nats.
        blocks: run on average; None where none can leave early.
        merit: by which the best epoch is chosen, highest first; None: not to be chosen.
    """

    accuracy: float
    loss: float
    blocks: float | None
    merit: tuple[float, ...] | None


class Learner(Protocol):
    """What learns: `learn` calls it, epoch by epoch, step by step."""

    model: GFNet
    learning_rate: float

    def begin(self, epoch: int) -> str:
        """Start an epoch, counted from 1; the name of its phase."""
        ...

    def step(self, batch: Batch) -> float:
        """Learn from one batch; its mean loss, nats."""
        ...

    def validate(self, validation: Samples) -> Verdict:
        """How good the model is that would come out now."""
        ...

    def weights(self) -> Mapping[str, Tensor]:
        """State dict of the model that would come out now."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """All that the next epoch depends on."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what `state_dict` gave."""
        ...


class DivergedError(LossNotFiniteError):
    """The loss became NaN or infinite; the model holds the best epoch's weights again.

    Attributes:
        model: what was learning.
        outcome: of the best epoch; None if none was finished before.
    """

    def __init__(self, message: str, model: GFNet, outcome: Outcome | None) -> None:
        super().__init__(message)
        self.model, self.outcome = model, outcome


def learn(
    learner: Learner,
    *,
    data: TrainingData,
    schedule: Schedule,
    augment: Augment,
    report: Report,
    state: StateFile | None = None,
) -> Outcome:
    """Run all epochs, and leave the model with the weights of the best one.

    Args:
        learner: what learns.
        data: what is learned from, and chosen by.
        schedule: gives epochs, batch_size and seed.
        augment: of the training images.
        report: gets one report an epoch, and some within a long one.
        state: is replaced after each epoch; what it holds already is where to go on.

    Raises:
        DivergedError: the loss became NaN or infinite.
        StateError: the state is of another training.
        OSError: the state cannot be written.
    """
    best = _Best()
    done = 0
    if saved := state.load() if state else None:
        done = saved["epoch"]
        best = _Best(**saved["best"])
        learner.load_state_dict(saved["learner"])
    progress = Progress(schedule.epochs, len(data.train.labels), report, done=done)
    for epoch in range(done + 1, schedule.epochs + 1):
        phase = learner.begin(epoch)
        try:
            with seeded(schedule.seed, epoch):
                for samples in data.train.shuffled_batches(schedule.batch_size):
                    rate = learner.learning_rate
                    loss = learner.step(augment(samples))
                    progress.step(phase, loss, len(samples.labels), rate)
        except LossNotFiniteError as err:
            if best.weights:
                learner.model.load_state_dict(best.weights)
            raise DivergedError(str(err), learner.model, best.outcome()) from err
        verdict = learner.validate(data.validation)
        is_best = best.replace(epoch, verdict, learner)
        if state:
            state.save(
                {"epoch": epoch, "best": asdict(best), "learner": learner.state_dict()}
            )
        accuracy, validation_loss, blocks, _ = verdict
        progress.finish(phase, Validation(accuracy, validation_loss, blocks, is_best))
    learner.model.load_state_dict(best.weights)
    outcome = best.outcome()
    assert outcome is not None  # noqa: S101 - an invariant: the last phase can be chosen
    return outcome


@dataclass
class _Best:
    """The best epoch so far."""

    epoch: int = 0
    accuracy: float = 0.0
    blocks: float | None = None
    merit: tuple[float, ...] | None = None
    weights: dict[str, Tensor] = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        self.weights = self.weights or {}

    def replace(self, epoch: int, verdict: Verdict, learner: Learner) -> bool:
        """Take an epoch that is better; whether it was."""
        if verdict.merit is None or (self.merit is not None and verdict.merit <= self.merit):
            return False
        self.epoch, self.merit = epoch, verdict.merit
        self.accuracy, self.blocks = verdict.accuracy, verdict.blocks
        self.weights = {k: v.detach().cpu().clone() for k, v in learner.weights().items()}
        return True

    def outcome(self) -> Outcome | None:
        """What came out; None if there is none."""
        return Outcome(self.epoch, self.accuracy, self.blocks) if self.epoch else None


def fresh(config: ModelConfig, seed: int) -> GFNet:
    """A model whose untrained weights follow from the seed."""
    with seeded(seed, 0):
        return build(config)


@contextmanager
def seeded(seed: int, epoch: int) -> Iterator[None]:
    """Draw from torch's generator as this epoch of this seed always does.

    Each epoch, counted from 1, has a stream of its own, so that a training can be taken up at any
    of them; 0 is that of the fresh weights. The generator is put back afterwards: training changes
    nothing for its caller.
    """
    state = np.random.SeedSequence((seed, epoch)).generate_state(1, np.uint64)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(state[0]))
        yield
