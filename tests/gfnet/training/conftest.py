"""A task of four classes that a tiny model learns in a second."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import pytest
import torch

from gfnet import ModelConfig, Preprocessing
from gfnet.training.data import Augment, Prepare, Samples, TrainingData, hold_out
from gfnet.training.engine import Engine
from gfnet.training.loop import EpochState, Event, Learned, Learner, learn
from gfnet.training.progress import EpochReport
from gfnet.training.settings import Augmentation, EpochSchedule, HoldOut

CLASSES = 4
PREPROCESSING = Preprocessing(8, 8, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))


class Course(NamedTuple):
    """What a whole training gave."""

    learned: Learned
    reports: list[EpochReport]
    states: list[dict[str, Any]]

    @classmethod
    def of(cls, events: Iterable[Event]) -> Course:
        """Sort the events of a training."""
        every = list(events)
        reports = [event for event in every if isinstance(event, EpochReport)]
        states = [event.state for event in every if isinstance(event, EpochState)]
        assert isinstance(every[-1], Learned)
        return cls(every[-1], reports, states)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Models this small are slower on more threads, and sums then depend on how many."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def data() -> TrainingData:
    """80 noisy images of 8 x 8 pixels, each bright in the quarter that its class names."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(80) % CLASSES
    images = torch.randn(80, 3, 8, 8, generator=generator) * 32 + 100
    for image, label in zip(images, labels.tolist(), strict=True):
        row, column = divmod(label, 2)
        image[:, row * 4 : row * 4 + 4, column * 4 : column * 4 + 4] += 64
    return hold_out(Samples(images.clamp(0, 255).byte(), labels), HoldOut(0.25, seed=0))


@pytest.fixture
def augment() -> Augment:
    """Small movements."""
    changes = Augmentation(rotate_degrees=5, shift=0.05, scale=0.05)
    return Augment(changes, PREPROCESSING, CLASSES)


@pytest.fixture
def preprocessing() -> Preprocessing:
    """That of the images."""
    return PREPROCESSING


@pytest.fixture
def prepare() -> Prepare:
    """How the images are normalised."""
    return Prepare(PREPROCESSING)


@pytest.fixture
def engine() -> Engine:
    """The processor, in float32."""
    return Engine(torch.device("cpu"), "float32")


@pytest.fixture
def run(data: TrainingData, augment: Augment, schedule: EpochSchedule) -> Callable[..., Course]:
    """Train a learner: what came of it. A schedule and a saved state may be given."""

    def whole(learner: Learner, **options: Any) -> Course:
        settings: dict[str, Any] = {"data": data, "augment": augment, "schedule": schedule}
        return Course.of(learn(learner, **(settings | options)))

    return whole


@pytest.fixture
def schedule() -> EpochSchedule:
    """Six epochs, the first a warm-up."""
    return EpochSchedule(
        epochs=6, batch_size=16, learning_rate=0.01, weight_decay=0.01, warmup_epochs=1, seed=3
    )


@pytest.fixture
def tiny() -> Callable[[str], ModelConfig]:
    """Sizes of a model of a family, with four patches and four blocks."""

    def sizes(family: str) -> ModelConfig:
        return ModelConfig(
            family, img_size=8, patch_size=4, embed_dim=8, depth=4, num_classes=CLASSES
        )

    return sizes
