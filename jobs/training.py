"""One training, from a checked recipe to a checkpoint on disk."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gfnet
from jobs.errors import JobsError
from jobs.recipe import Recipe

if TYPE_CHECKING:
    from gfnet.training.data import Augment, TrainingData
    from gfnet.training.progress import EpochReport

    Report = Callable[[EpochReport], None]

_NAMED_IMAGES = 5


class TrainingError(JobsError):
    """A training that could not be finished; nothing was written."""


def train(recipe: Recipe, report: Report) -> Path:
    """Run a recipe.

    Args:
        recipe: checked.
        report: gets one `gfnet.training.progress.EpochReport` an epoch.

    Returns:
        The checkpoint. It is written whole, in one step, when all has been learned.

    Raises:
        TrainingError: the output cannot be written, an image cannot be decoded, or the loss
            became NaN or infinite.
    """
    # Late, here and below: reading a recipe and --help must not load torch.
    from gfnet.training.data import Augment
    from gfnet.training.progress import LossNotFiniteError

    _prepare(recipe.output)
    with _threads(recipe.threads):
        data = _data(recipe)
        augment = Augment(recipe.augmentation, recipe.preprocessing)
        try:
            model, learned = _learn(recipe, data, augment, report)
        except (LossNotFiniteError, gfnet.CheckpointError) as err:
            raise TrainingError(f"{recipe.name}: {err}; nothing was written") from err
    metadata = gfnet.Metadata(
        config=recipe.config,
        preprocessing=recipe.preprocessing,
        class_names=recipe.images.class_names,
        thresholds=_thresholds(recipe),
        training=_history(recipe, data) | learned,
    )
    try:
        gfnet.save_checkpoint(model, recipe.output, metadata)
    except OSError as err:
        raise TrainingError(f"{recipe.output} cannot be written: {err.strerror}") from err
    return recipe.output


def _learn(
    recipe: Recipe, data: TrainingData, augment: Augment, report: Report
) -> tuple[gfnet.GFNet, dict[str, Any]]:
    """The trained model, and what its metadata says of the best epoch."""
    from gfnet.model import GFNetDistil
    from gfnet.training.baseline import train_baseline
    from gfnet.training.distillation import train_student
    from gfnet.training.exits import train_exits, with_fresh_exits
    from gfnet.training.loop import fresh

    common: dict[str, Any] = {
        "data": data,
        "schedule": recipe.schedule,
        "augment": augment,
        "report": report,
    }
    seed = recipe.schedule.seed
    if recipe.parent is None:
        model = fresh(recipe.config, seed)
        outcome = train_baseline(model, label_smoothing=recipe.label_smoothing, **common)
        return model, asdict(outcome)
    parent = gfnet.load_checkpoint(recipe.parent.path)
    if recipe.stage == "distillation":
        model = fresh(recipe.config, seed)
        assert isinstance(model, GFNetDistil)  # noqa: S101 - an invariant: the recipe's family
        return model, asdict(train_student(model, parent, teaching=recipe.teaching, **common))
    assert isinstance(parent, GFNetDistil)  # noqa: S101 - an invariant: read_recipe checked it
    grown = with_fresh_exits(parent, recipe.config.exit_blocks, seed)
    return grown, asdict(train_exits(grown, training=recipe.exits, **common))


def _data(recipe: Recipe) -> TrainingData:
    """The training images, prepared as the checkpoint will ask for, and what is held out of them.

    Raises:
        TrainingError: images that cannot be decoded, of which the first are named; or too few.
    """
    import torch

    from gfnet.training.data import Samples, hold_out

    table = recipe.images.read(range(len(recipe.images)))
    prepare = gfnet.transform(recipe.preprocessing)
    prepared, failures = [], []
    for path, encoded in zip(*(table[key].to_pylist() for key in ("path", "image")), strict=True):
        try:
            prepared.append(prepare(gfnet.decode(encoded)))
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


def _history(recipe: Recipe, data: TrainingData) -> dict[str, Any]:
    """How the model was trained, for its metadata; no times or paths, so that it reproduces."""
    history: dict[str, Any] = {
        "recipe": recipe.name,
        "stage": recipe.stage,
        "dataset": recipe.images.name,
        "dataset_sha256": recipe.images.sha256,
        "validation": asdict(recipe.validation) | {"images": len(data.validation.labels)},
        "augmentation": asdict(recipe.augmentation),
        "threads": recipe.threads,
        "gfjobs": version("gfjobs"),
    } | asdict(recipe.schedule)
    if recipe.parent:
        history["parent"] = {"name": recipe.parent.name, "sha256": recipe.parent.sha256}
    of_stage: dict[str, dict[str, Any]] = {
        "baseline": {"label_smoothing": recipe.label_smoothing},
        "distillation": {"teaching": asdict(recipe.teaching)},
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
