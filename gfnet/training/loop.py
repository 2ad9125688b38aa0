"""The epochs of a whole model: what the baseline and the student have in common."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from gfnet.config import ModelConfig
from gfnet.model import GFNet, build
from gfnet.training.data import Augment, Samples, TrainingData
from gfnet.training.optimisation import adamw, warmup_and_cosine
from gfnet.training.progress import Progress, Report
from gfnet.training.settings import Schedule

BatchLoss = Callable[[Samples], Tensor]
"""The mean loss of a batch, differentiable."""

_VALIDATION_BATCH = 256


@dataclass(frozen=True)
class Outcome:
    """What the best epoch was; the model holds its weights.

    Attributes:
        best_epoch: counted from 1.
        validation_accuracy: top-1 of the held-out images, percent.
    """

    best_epoch: int
    validation_accuracy: float


def fit(
    model: GFNet,
    loss_of: BatchLoss,
    *,
    data: TrainingData,
    schedule: Schedule,
    augment: Augment,
    report: Report,
) -> Outcome:
    """Train all weights of a model, and leave it with those of the best epoch.

    The best epoch has the highest validation accuracy; of equals, the lowest validation loss.

    Raises:
        LossNotFiniteError: the loss became NaN or infinite.
    """
    size = schedule.batch_size
    optimizer = adamw(model.parameters(), schedule)
    scheduler = warmup_and_cosine(optimizer, schedule, -(-len(data.train.labels) // size))
    progress = Progress(schedule.epochs, report)
    best, best_state, outcome = (-1.0, 0.0), model.state_dict(), Outcome(0, 0.0)
    for epoch in range(1, schedule.epochs + 1):
        model.train()
        with seeded(schedule.seed, epoch):
            for images, labels in data.train.shuffled().batches(size):
                loss = loss_of(Samples(augment(images), labels))
                progress.step(loss.item(), len(labels))
                optimizer.zero_grad()
                torch.autograd.backward(loss)
                optimizer.step()
                scheduler.step()
        accuracy, validation_loss = validate(model.eval(), data.validation)
        progress.finish("model", accuracy)
        if (accuracy, -validation_loss) > best:
            best, outcome = (accuracy, -validation_loss), Outcome(epoch, accuracy)
            best_state = copy.deepcopy(model.state_dict())
    model.load_state_dict(best_state)
    return outcome


def fresh(config: ModelConfig, seed: int) -> GFNet:
    """A model whose untrained weights follow from the seed."""
    with seeded(seed, 0):
        return build(config)


@torch.no_grad()
def validate(model: GFNet, samples: Samples) -> tuple[float, float]:
    """Top-1 accuracy in percent, and mean cross entropy in nats, at full depth."""
    batches = samples.batches(_VALIDATION_BATCH)
    logits = torch.cat([model(images) for images, _ in batches])
    correct = (logits.argmax(dim=1) == samples.labels).float().mean().item() * 100
    return correct, functional.cross_entropy(logits, samples.labels).item()


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
