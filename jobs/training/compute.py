"""The worker's side of a training: turns encoded images into events, on a device of this host."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import gfnet
from jobs.common.errors import JobsError, UsageError
from jobs.machine.devices import ANY, CPU
from jobs.machine.registration import node_name
from jobs.training.recipe import Recipe

if TYPE_CHECKING:
    from gfnet.training.data import TrainingData
    from gfnet.training.engine import Engine
    from gfnet.training.loop import Event, Learner

_NAMED_IMAGES = 5
_ACCELERATORS = ("cuda", "xpu", "mps")


class NoTrainingDeviceError(UsageError):
    """The machine of a training lacks the device that was asked for."""


class TrainingError(JobsError):
    """A training could not be finished."""


@dataclass(frozen=True)
class TrainingJob:
    """A training as it is sent to a worker: nothing is read from the worker's disk.

    Attributes:
        recipe: what to train, and how.
        images: Arrow table of `ImageSet.read`, all images of the training split in their order.
        parent: the checkpoint file of the teacher or the start; None for a new baseline.
        device: as torch names it, or `any`.
        saved: result of `StateFile.load`, the state to resume from; None: train from the beginning.
    """

    recipe: Recipe
    images: Any
    parent: bytes | None
    device: str
    saved: dict[str, Any] | None


@dataclass(frozen=True)
class StartedTraining:
    """The first event: the device of the training, and everything that determines its weights.

    Attributes:
        training: for the checkpoint's metadata, as JSON values; without times and paths, so that
            it is reproducible.
        identity: `training` and the metadata's entries on the model and preprocessing.
        node: host name.
        device: as torch names it.
        precision: `float32` or `bfloat16`.
    """

    training: dict[str, Any]
    identity: dict[str, Any]
    node: str
    device: str
    precision: str


def run_training_job(job: TrainingJob) -> Iterator[StartedTraining | Event]:
    """Train, and yield events.

    Raises:
        NoTrainingDeviceError: torch has no such device.
        TrainingError: an image cannot be decoded, too few images are left to train on, or the saved
            state belongs to a different training.
    """
    # Imported late, here and below: reading a recipe and --help must not load torch.
    from gfnet.training.data import Augment
    from gfnet.training.engine import choose_engine
    from gfnet.training.loop import learn
    from gfnet.training.state import StateError, check_same

    recipe, saved = job.recipe, job.saved
    with _threads(recipe.threads):
        device = use_torch_device(job.device)
        # Keep what `auto` chose before: it might choose differently now.
        precision = saved["identity"].get("precision") if saved else None
        engine = choose_engine(device, precision or recipe.precision)
        data = _data(job)
        training = _training(recipe, data, engine)
        identity = training | {
            "model": recipe.config.to_json(),
            "preprocessing": recipe.preprocessing.to_json(),
        }
        try:
            if saved:
                check_same(saved["identity"], identity)
            learner = _learner(job, len(data.train.labels), engine)
        except StateError as err:
            raise TrainingError(f"{recipe.name}: {err} (--force)") from err
        except gfnet.CheckpointError as err:
            raise TrainingError(f"{recipe.name}: {err}") from err
        yield StartedTraining(training, identity, node_name(), str(engine.device), engine.precision)
        augment = Augment(recipe.augmentation, recipe.preprocessing, recipe.config.num_classes)
        yield from learn(
            learner,
            data=data,
            schedule=recipe.schedule,
            augment=augment,
            saved=saved["state"] if saved else None,
        )


def use_torch_device(name: str) -> str:
    """Returns torch's name of the device that a name means here; `any` prefers an accelerator.

    Raises:
        NoTrainingDeviceError: torch has no such device.
    """
    import torch

    if name == ANY:
        there = (kind for kind in _ACCELERATORS if getattr(torch, kind).is_available())
        return next(there, CPU)
    try:
        return str(torch.zeros(1, device=name).device)
    except (RuntimeError, AssertionError, NotImplementedError) as err:
        reason = str(err).strip().splitlines()[0]
        raise NoTrainingDeviceError(
            f"torch {torch.__version__} on {node_name()} has no device {name!r}: {reason};"
            " choose --device cpu, or --device any for what is available"
        ) from err


def _learner(job: TrainingJob, images: int, engine: Engine) -> Learner:
    """The untrained learner of the recipe's stage."""
    from gfnet.model import GFNetDistil
    from gfnet.training.baseline import label_loss, take_over
    from gfnet.training.distillation import student_loss
    from gfnet.training.exit_stage import ExitStage
    from gfnet.training.exits import with_fresh_exits
    from gfnet.training.loop import fresh
    from gfnet.training.whole import WholeModel

    recipe = job.recipe
    common: dict[str, Any] = {
        "schedule": recipe.schedule,
        "images": images,
        "preprocessing": recipe.preprocessing,
        "engine": engine,
    }
    seed, smoothing = recipe.schedule.seed, recipe.label_smoothing
    if recipe.stage == "baseline":
        model = fresh(recipe.config, seed, recipe.initial_filters)
        if job.parent:
            take_over(model, gfnet.load_checkpoint(job.parent))
        model.to(engine.device)
        return WholeModel(model, label_loss(model, smoothing), **common)
    assert job.parent is not None  # the later stages have one
    parent = gfnet.load_checkpoint(job.parent).to(engine.device)
    if recipe.stage == "distillation":
        student = fresh(recipe.config, seed, recipe.initial_filters).to(engine.device)
        assert isinstance(student, GFNetDistil)  # the recipe's family
        loss_of = student_loss(student, parent, recipe.teaching, smoothing)
        return WholeModel(student, loss_of, **common)
    grown = with_fresh_exits(parent, recipe.config.exit_blocks, seed).to(engine.device)
    return ExitStage(grown, training=recipe.exits, **common)


def _data(job: TrainingJob) -> TrainingData:
    """The training and held-out images, preprocessed as the checkpoint will require.

    Raises:
        TrainingError: images cannot be decoded (the first are named), or there are too few.
    """
    import torch

    from gfnet.preprocess import geometry
    from gfnet.training.data import Samples, hold_out

    recipe, table = job.recipe, job.images
    cut = geometry(recipe.preprocessing)
    prepared, failures = [], []
    for path, encoded in zip(*(table[key].to_pylist() for key in ("path", "image")), strict=True):
        try:
            prepared.append(cut(gfnet.decode(encoded, recipe.preprocessing.exif)))
        except gfnet.DecodeError as err:  # decoding takes a thousand times longer
            failures.append(f"{path} ({err})")
    if failures:
        named = ", ".join(failures[:_NAMED_IMAGES])
        raise TrainingError(
            f"{recipe.name}: {len(failures)} of the images of {recipe.images.name} cannot be"
            f" decoded: {named}"
        )
    samples = Samples(torch.stack(prepared), torch.tensor(recipe.images.labels))
    try:
        return hold_out(samples, recipe.validation)
    except ValueError as err:
        raise TrainingError(f"{recipe.name}: {err}") from err


def _training(recipe: Recipe, data: TrainingData, engine: Engine) -> dict[str, Any]:
    """Everything that determines the weights, except the model's own sizes."""
    settings = training_settings(recipe)
    return settings | {
        "validation": settings["validation"] | {"images": len(data.validation.labels)},
        "precision": engine.precision,
        "device": engine.device.type,
        "gfjobs": version("gfjobs"),
    }


def training_settings(recipe: Recipe) -> dict[str, Any]:
    """Returns the recipe's settings that determine the weights, by their names in the metadata."""
    training: dict[str, Any] = {
        "recipe": recipe.name,
        "stage": recipe.stage,
        "dataset": recipe.images.name,
        "dataset_sha256": recipe.images.sha256,
        "validation": asdict(recipe.validation),
        "augmentation": asdict(recipe.augmentation) | {"flips": list(recipe.augmentation.flips)},
        "threads": recipe.threads,
    } | asdict(recipe.schedule)
    if recipe.parent:
        training["parent"] = {"name": recipe.parent.name, "sha256": recipe.parent.sha256}
    whole: dict[str, Any] = {
        "initial_filters": recipe.initial_filters,
        "label_smoothing": recipe.label_smoothing,
    }
    of_stage: dict[str, dict[str, Any]] = {
        "baseline": whole,
        "distillation": whole | {"teaching": asdict(recipe.teaching)},
        "exits": asdict(recipe.exits) | {"exit_blocks": list(recipe.config.exit_blocks)},
    }
    return training | of_stage[recipe.stage]


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Set torch's thread count, since the weights depend on it; restore it afterwards."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
