"""The epochs of a training: order, validation, the best one, and the state to go on from."""

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
    """What the best epoch was.

    Attributes:
        best_epoch: counted from 1.
        validation_accuracy: top-1 of the held-out images, percent; of exits as routed.
        validation_blocks: that a held-out image runs on average; None where none leaves early.
    """

    best_epoch: int
    validation_accuracy: float
    validation_blocks: float | None = None


class EpochScore(NamedTuple):
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

    @property
    def model(self) -> GFNet:
        """Whose weights are learned."""
        ...

    @property
    def learning_rate(self) -> float:
        """That of the next step."""
        ...

    def begin(self, epoch: int) -> str:
        """Start an epoch, counted from 1; the name of its phase."""
        ...

    def step(self, batch: Batch) -> float:
        """Learn from one batch; its mean loss, nats."""
        ...

    def validate(self, validation: Samples) -> EpochScore:
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


@dataclass(frozen=True)
class EpochState:
    """All that the epochs after this one depend on, as tensors and plain values."""

    state: dict[str, Any]


@dataclass(frozen=True)
class Learned:
    """The end of a training.

    Attributes:
        weights: state dict of the best epoch.
        outcome: what that was; None if none was finished.
        stopped: why it ended early; None if it did not.
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
    """Run all epochs.

    A generator, so that whoever asks for the next event decides what is done with this one: on the
    same machine or on another.

    Args:
        learner: what learns.
        data: what is learned from, and chosen by.
        schedule: gives epochs, batch_size and seed.
        augment: of the training images.
        saved: the last EpochState's of an interrupted training; it goes on there, and ends with
            the weights of one that was not interrupted.

    Yields:
        Reports within a long epoch; of each finished one its report, then its state; at last what
        was learned. A loss that becomes NaN or infinite, or weights that do after an epoch's last
        step, end the training at once, with the best epoch before.
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
    """See that an epoch can be used: its last step is seen in no loss but the validation's."""
    if not math.isfinite(verdict.loss):
        raise progress.lost(f"the validation loss became {verdict.loss}")
    if not all(tensor.isfinite().all() for tensor in learner.weights().values()):
        raise progress.lost("weights became NaN or infinite")


def _batches(
    train: Samples, epoch: int, schedule: EpochSchedule, augment: Augment
) -> Iterator[Batch]:
    """What one epoch learns from, drawn from random numbers of its own."""
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
    """The steps of one epoch."""
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
        """Take an epoch that is better; whether it was."""
        if verdict.merit is None or (self.merit is not None and verdict.merit <= self.merit):
            return False
        self.epoch, self.merit = epoch, verdict.merit
        self.accuracy, self.blocks = verdict.accuracy, verdict.blocks
        self.weights = {k: v.detach().cpu().clone() for k, v in learner.weights().items()}
        return True

    def outcome(self) -> BestEpoch | None:
        """What came out; None if there is none."""
        return BestEpoch(self.epoch, self.accuracy, self.blocks) if self.epoch else None


def fresh(config: ModelConfig, seed: int, initial_filters: str = "random") -> GFNet:
    """A model whose untrained weights follow from the seed.

    Args:
        config: its sizes.
        seed: of all that is drawn.
        initial_filters: of INITIAL_FILTERS.
    """
    with Stream(seed, 0).drawn():
        model = build(config)
    if initial_filters == "blurs":
        begin_as_blurs(model)
    return model


class Stream:
    """The random numbers of one epoch of one seed.

    Each epoch, counted from 1, has a stream of its own, so that a training can be taken up at any
    of them; 0 is that of the fresh weights.
    """

    def __init__(self, seed: int, epoch: int) -> None:
        state = np.random.SeedSequence((seed, epoch)).generate_state(1, np.uint64)
        self._state = torch.Generator().manual_seed(int(state[0])).get_state()

    @contextmanager
    def drawn(self) -> Iterator[None]:
        """Draw from torch's generator what comes next in the stream.

        The generator is put back afterwards: training changes nothing for its caller.
        """
        with torch.random.fork_rng(devices=[]):
            torch.set_rng_state(self._state)
            yield
            self._state = torch.get_rng_state()
