"""The epochs of a training: order, validation, the best epoch, and the state to resume from."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from gfnet.config import ModelConfig
from gfnet.model import GFNet, build
from gfnet.training.data import Augment, Batch, Samples, TrainingData
from gfnet.training.filters import begin_as_blurs
from gfnet.training.progress import EpochProgress, EpochReport, LossNotFiniteError, Validation
from gfnet.training.settings import EpochSchedule


@dataclass(frozen=True)
class BestEpoch:
    """The best epoch and its results on the held-out images.

    Attributes:
        best_epoch: counted from 1.
        validation_accuracy: top-1, percent; of a model with exits, as routed.
        validation_blocks: blocks run per image on average; None if no image can exit early.
    """

    best_epoch: int
    validation_accuracy: float
    validation_blocks: float | None = None


class EpochScore(NamedTuple):
    """Results of an epoch on the held-out images.

    Attributes:
        accuracy: top-1, percent.
        loss: mean cross entropy, nats.
        blocks: blocks run per image on average; None if no image can exit early.
        merit: the best epoch has the highest; None: this epoch cannot be the best.
    """

    accuracy: float
    loss: float
    blocks: float | None
    merit: tuple[float, ...] | None


class Learner(Protocol):
    """What `learn` trains, epoch by epoch and step by step."""

    @property
    def model(self) -> GFNet:
        """The model whose weights are learned."""
        ...

    @property
    def learning_rate(self) -> float:
        """Learning rate of the next step."""
        ...

    def begin(self, epoch: int) -> str:
        """Start an epoch, counted from 1, and return the name of its phase."""
        ...

    def step(self, batch: Batch) -> float:
        """Learn from one batch, and return its mean loss, nats."""
        ...

    def validate(self, validation: Samples) -> EpochScore:
        """Score the model that the training would return now."""
        ...

    def weights(self) -> Mapping[str, Tensor]:
        """Return the state dict of the model that the training would return now."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return all that the next epoch depends on."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        ...


@dataclass(frozen=True)
class EpochState:
    """All that the following epochs depend on, as tensors and plain values."""

    state: dict[str, Any]


@dataclass(frozen=True)
class Learned:
    """The result of a training.

    Attributes:
        weights: state dict of the best epoch.
        outcome: that epoch; None if there is none.
        stopped: why the training ended early; None if it did not.
    """

    weights: dict[str, Tensor]
    outcome: BestEpoch | None
    stopped: str | None


Event = EpochReport | EpochState | Learned


def learn(
    learner: Learner,
    *,
    data: TrainingData,
    schedule: EpochSchedule,
    augment: Augment,
    saved: dict[str, Any] | None = None,
) -> Iterator[Event]:
    """Run all epochs and yield their events.

    A generator, so that the caller handles each event before the next, on the same host or on
    another.

    Args:
        learner: what to train.
        data: images to learn from, and to choose by.
        schedule: gives epochs, batch_size and seed.
        augment: changes the training images.
        saved: state of the last EpochState of an interrupted training, which is resumed there and
            ends with the same weights as an uninterrupted one.

    Yields:
        Reports within a long epoch; for each finished epoch its report, then its state; at the end
        a Learned. If a loss becomes NaN or infinite, or weights do in an epoch's last step, the
        training ends at once, with the best epoch before.
    """
    done, best = 0, _Best()
    if saved:
        done, best = saved["epoch"], _Best(**saved["best"])
        learner.load_state_dict(saved["learner"])
    progress = EpochProgress(schedule.epochs, len(data.train.labels), done=done)
    for epoch in range(done + 1, schedule.epochs + 1):
        phase = learner.begin(epoch)
        try:
            yield from _steps(
                learner, phase, _batches(data.train, epoch, schedule, augment), progress
            )
            verdict = learner.validate(data.validation)
            _check_finite(verdict, learner, progress)
        except LossNotFiniteError as err:
            yield Learned(best.weights, best.outcome(), str(err))
            return
        is_best = best.replace(epoch, verdict, learner)
        found = Validation(verdict.accuracy, verdict.loss, verdict.blocks, is_best)
        yield progress.finish(phase, found)
        state = {"epoch": epoch, "best": vars(best), "learner": learner.state_dict()}
        yield EpochState(copy.deepcopy(state))  # the next epoch changes these tensors
    yield Learned(best.weights, best.outcome(), None)


def _check_finite(verdict: EpochScore, learner: Learner, progress: EpochProgress) -> None:
    """Raise if an epoch cannot be used; only validation shows the effect of its last step."""
    if not math.isfinite(verdict.loss):
        raise progress.lost(f"the validation loss became {verdict.loss}")
    if not all(tensor.isfinite().all() for tensor in learner.weights().values()):
        raise progress.lost("weights became NaN or infinite")


def _batches(
    train: Samples, epoch: int, schedule: EpochSchedule, augment: Augment
) -> Iterator[Batch]:
    """Yield the batches of one epoch, drawn from the epoch's own random numbers."""
    stream = Stream(schedule.seed, epoch)
    with stream.drawn():
        every_rows = train.shuffled_rows(schedule.batch_size)
    for rows in every_rows:
        with stream.drawn():
            batch = augment(train.take(rows))
        yield batch


def _steps(
    learner: Learner, phase: str, batches: Iterator[Batch], progress: EpochProgress
) -> Iterator[EpochReport]:
    """Run the steps of one epoch, and yield its reports."""
    for batch in batches:
        rate = learner.learning_rate
        loss = learner.step(batch)
        if report := progress.step(phase, loss, len(batch.targets), rate):
            yield report


@dataclass
class _Best:
    """The best epoch so far."""

    epoch: int = 0
    accuracy: float = 0.0
    blocks: float | None = None
    merit: tuple[float, ...] | None = None
    weights: dict[str, Tensor] = field(default_factory=dict)

    def replace(self, epoch: int, verdict: EpochScore, learner: Learner) -> bool:
        """Take an epoch if it is better, and return whether it was."""
        if verdict.merit is None or (self.merit is not None and verdict.merit <= self.merit):
            return False
        self.epoch, self.merit = epoch, verdict.merit
        self.accuracy, self.blocks = verdict.accuracy, verdict.blocks
        self.weights = {k: v.detach().cpu().clone() for k, v in learner.weights().items()}
        return True

    def outcome(self) -> BestEpoch | None:
        """Return the best epoch; None if there is none."""
        return BestEpoch(self.epoch, self.accuracy, self.blocks) if self.epoch else None


def fresh(config: ModelConfig, seed: int, initial_filters: str = "random") -> GFNet:
    """Create a model whose untrained weights follow from the seed.

    Args:
        config: its sizes.
        seed: of all random numbers.
        initial_filters: one of INITIAL_FILTERS.
    """
    with Stream(seed, 0).drawn():
        model = build(config)
    if initial_filters == "blurs":
        begin_as_blurs(model)
    return model


class Stream:
    """The random numbers of one epoch of one seed.

    Each epoch, counted from 1, has its own stream, so that a training can be resumed at any epoch;
    0 is the stream of the fresh weights.
    """

    def __init__(self, seed: int, epoch: int) -> None:
        state = np.random.SeedSequence((seed, epoch)).generate_state(1, np.uint64)
        self._state = torch.Generator().manual_seed(int(state[0])).get_state()

    @contextmanager
    def drawn(self) -> Iterator[None]:
        """Let torch's generator draw the next numbers of the stream.

        The generator is restored afterwards: training does not change it for the caller.
        """
        with torch.random.fork_rng(devices=[]):
            torch.set_rng_state(self._state)
            yield
            self._state = torch.get_rng_state()
