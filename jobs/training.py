"""One training, from a checked recipe to a checkpoint on disk."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import gfnet
from jobs.errors import JobsError
from jobs.recipe import Recipe

if TYPE_CHECKING:
    from gfnet.model import GFNet
    from gfnet.training.data import TrainingData
    from gfnet.training.engine import Engine
    from gfnet.training.loop import DivergedError, Learner, Outcome
    from gfnet.training.progress import EpochReport
    from gfnet.training.state import StateFile

    Report = Callable[[EpochReport], None]

_NAMED_IMAGES = 5


class TrainingError(JobsError):
    """A training that could not be finished; nothing was written."""


def train(
    recipe: Recipe, report: Report, *, device: str = "cpu", is_resumed: bool = False
) -> Path:
    """Run a recipe.

    Args:
        recipe: checked.
        report: gets one `gfnet.training.progress.EpochReport` an epoch, and some within a long one.
        device: as torch names it.
        is_resumed: go on where an interrupted training of the same recipe stopped.

    Returns:
        The checkpoint. It is written whole, in one step, when all has been learned.

    Raises:
        TrainingError: the output cannot be written, an image cannot be decoded, the loss became NaN
            or infinite, or a training was interrupted here and is not resumed.
    """
    # Late, here and below: reading a recipe and --help must not load torch.
    from gfnet.training.engine import choose_engine
    from gfnet.training.loop import DivergedError
    from gfnet.training.state import StateError, StateFile

    _prepare(recipe.output)
    state = StateFile(recipe.output, {})
    if state.exists() and not is_resumed:
        raise TrainingError(
            f"{recipe.name}: a training was interrupted here, and {state.path} holds its last"
            " epoch; add --resume to go on, or remove that file to start anew"
        )
    try:
        with _threads(recipe.threads):
            engine = choose_engine(device, state.precision() or recipe.precision)
            data = _data(recipe)
            state.identity = _history(recipe, data, engine)
            model, outcome = _learn(recipe, data, engine, state, report)
    except DivergedError as err:
        _give_up(recipe, state, err)
    except (StateError, gfnet.CheckpointError) as err:
        raise TrainingError(f"{recipe.name}: {err}") from err
    _save(recipe, model, state.identity | asdict(outcome))
    state.remove()
    return recipe.output


def _learn(
    recipe: Recipe, data: TrainingData, engine: Engine, state: StateFile, report: Report
) -> tuple[GFNet, Outcome]:
    """The trained model, and what its best epoch was."""
    from gfnet.training.data import Augment
    from gfnet.training.loop import learn

    learner = _learner(recipe, len(data.train.labels), engine)
    augment = Augment(recipe.augmentation, recipe.preprocessing, recipe.config.num_classes)
    outcome = learn(
        learner, data=data, schedule=recipe.schedule, augment=augment, report=report, state=state
    )
    return learner.model, outcome


def _learner(recipe: Recipe, images: int, engine: Engine) -> Learner:
    """What the recipe's stage trains, untrained."""
    from gfnet.model import GFNetDistil
    from gfnet.training.baseline import label_loss
    from gfnet.training.distillation import student_loss
    from gfnet.training.exit_stage import ExitStage
    from gfnet.training.exits import with_fresh_exits
    from gfnet.training.loop import fresh
    from gfnet.training.whole import WholeModel

    common: dict[str, Any] = {
        "schedule": recipe.schedule,
        "images": images,
        "preprocessing": recipe.preprocessing,
        "engine": engine,
    }
    seed, smoothing = recipe.schedule.seed, recipe.label_smoothing
    if recipe.parent is None:
        model = fresh(recipe.config, seed).to(engine.device)
        return WholeModel(model, label_loss(model, smoothing), **common)
    parent = gfnet.load_checkpoint(recipe.parent.path).to(engine.device)
    if recipe.stage == "distillation":
        student = fresh(recipe.config, seed).to(engine.device)
        assert isinstance(student, GFNetDistil)  # noqa: S101 - an invariant: the recipe's family
        loss_of = student_loss(student, parent, recipe.teaching, smoothing)
        return WholeModel(student, loss_of, **common)
    assert isinstance(parent, GFNetDistil)  # noqa: S101 - an invariant: read_recipe checked it
    grown = with_fresh_exits(parent, recipe.config.exit_blocks, seed).to(engine.device)
    return ExitStage(grown, training=recipe.exits, **common)


def _give_up(recipe: Recipe, state: StateFile, err: DivergedError) -> NoReturn:
    """Keep the best epoch before the loss was lost as the checkpoint, and say so.

    Its state is removed: the same recipe would come to the same end.
    """
    if err.outcome is None:
        raise TrainingError(f"{recipe.name}: {err}; no epoch was finished, nothing was written")
    _save(recipe, err.model, state.identity | asdict(err.outcome) | {"stopped": str(err)})
    state.remove()
    raise TrainingError(
        f"{recipe.name}: {err}; {recipe.output} holds the best epoch before,"
        f" {err.outcome.best_epoch}, with {err.outcome.validation_accuracy:.2f} % on the"
        " validation images"
    ) from err


def _save(recipe: Recipe, model: GFNet, training: dict[str, Any]) -> None:
    metadata = gfnet.Metadata(
        config=recipe.config,
        preprocessing=recipe.preprocessing,
        class_names=recipe.images.class_names,
        thresholds=_thresholds(recipe),
        training=training,
    )
    try:
        gfnet.save_checkpoint(model, recipe.output, metadata, weights=recipe.weights)
    except OSError as err:
        raise TrainingError(f"{recipe.output} cannot be written: {err.strerror}") from err


def _data(recipe: Recipe) -> TrainingData:
    """The training images, prepared as the checkpoint will ask for, and what is held out of them.

    Raises:
        TrainingError: images that cannot be decoded, of which the first are named; or too few.
    """
    import torch

    from gfnet.preprocess import geometry
    from gfnet.training.data import Samples, hold_out

    table = recipe.images.read(range(len(recipe.images)))
    cut = geometry(recipe.preprocessing)
    prepared, failures = [], []
    for path, encoded in zip(*(table[key].to_pylist() for key in ("path", "image")), strict=True):
        try:
            prepared.append(cut(gfnet.decode(encoded)))
        except gfnet.DecodeError as err:  # noqa: PERF203 - decoding takes a thousand times longer
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


def _history(recipe: Recipe, data: TrainingData, engine: Engine) -> dict[str, Any]:
    """All that determines the weights, for the metadata; no times or paths, so it reproduces."""
    history: dict[str, Any] = {
        "recipe": recipe.name,
        "stage": recipe.stage,
        "dataset": recipe.images.name,
        "dataset_sha256": recipe.images.sha256,
        "validation": asdict(recipe.validation) | {"images": len(data.validation.labels)},
        "augmentation": asdict(recipe.augmentation)
        | {"flips": list(recipe.augmentation.flips)},
        "precision": engine.precision,
        "device": engine.device.type,
        "threads": recipe.threads,
        "gfjobs": version("gfjobs"),
    } | asdict(recipe.schedule)
    if recipe.parent:
        history["parent"] = {"name": recipe.parent.name, "sha256": recipe.parent.sha256}
    of_stage: dict[str, dict[str, Any]] = {
        "baseline": {"label_smoothing": recipe.label_smoothing},
        "distillation": {
            "label_smoothing": recipe.label_smoothing,
            "teaching": asdict(recipe.teaching),
        },
        "exits": asdict(recipe.exits) | {"exit_blocks": list(recipe.config.exit_blocks)},
    }
    return history | of_stage[recipe.stage]


def _thresholds(recipe: Recipe) -> tuple[float, ...]:
    from gfnet.training.exit_stage import THRESHOLD

    return (THRESHOLD,) * len(recipe.config.exit_blocks)


def _prepare(output: Path) -> None:
    """See before the work, not after it, that its result can be written."""
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise TrainingError(f"{output.parent} cannot be made: {err.strerror}") from err
    if output.is_dir() or not os.access(output.parent, os.W_OK):
        raise TrainingError(f"{output} cannot be written; choose another output")


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Compute on so many threads, as the recipe's weights depend on it, and put it back."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
