"""One training, from a checked recipe to a checkpoint on disk, local or remote."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gfnet
from jobs.machine.devices import ANY
from jobs.training.compute import StartedTraining, TrainingError, TrainingJob, run_training_job
from jobs.training.earlier_training import check_free, find_finished
from jobs.training.epoch_log import EpochLog
from jobs.training.output import alone_at_output, check_unchanged, find_version
from jobs.training.recipe import Recipe
from storage import Root

if TYPE_CHECKING:
    from gfnet.training.loop import Event, Learned
    from gfnet.training.progress import EpochReport
    from gfnet.training.state import StateFile

    Compute = Callable[[TrainingJob], Iterator[StartedTraining | Event]]
    Report = Callable[[EpochReport], None]


def train(
    recipe: Recipe,
    report: Report,
    *,
    device: str = ANY,
    compute: Compute = run_training_job,
    is_resumed: bool = False,
    is_forced: bool = False,
    results: Root | None = None,
    narrate: Callable[[str], None] = lambda _: None,
) -> Path:
    """Train a recipe and write its checkpoint.

    Args:
        recipe: a checked recipe.
        report: gets an `EpochReport` for each epoch, and several within a long one.
        device: the device to train on: here, as torch names it; on a cluster, as a node names it.
        compute: trains, and yields events; by default in this process.
        is_resumed: continue an interrupted training of the same recipe; a finished one is left
            unchanged.
        is_forced: replace an existing checkpoint, and discard an interrupted training.
        results: root of the table `training`, which gets a row per epoch; None writes no rows.
        narrate: called with a message if nothing is left to do.

    Returns:
        The path of the checkpoint. It is written in one step at the end; until then, each epoch
        saves the state to resume from next to it.

    Raises:
        UsageError: a checkpoint or an interrupted training exists, and is neither resumed nor
            replaced; or the training to resume was made by a different recipe; or another process
            trains this output, or has written it meanwhile.
        TrainingError: the output cannot be written, an image cannot be decoded, or the loss became
            NaN or infinite.
    """
    _prepare(recipe.output)
    with alone_at_output(recipe):
        return _train_alone(
            recipe,
            report,
            _Options(device, compute, results, is_resumed=is_resumed, is_forced=is_forced),
            narrate,
        )


@dataclass(frozen=True)
class _Options:
    """Those of `train`."""

    device: str
    compute: Compute
    results: Root | None
    is_resumed: bool
    is_forced: bool


def _train_alone(
    recipe: Recipe, report: Report, options: _Options, narrate: Callable[[str], None]
) -> Path:
    """Train as `train` does, while no other process trains this output."""
    # Imported late: reading a recipe and --help must not load torch.
    from gfnet.training.loop import EpochState, Learned
    from gfnet.training.state import StateFile

    is_resumed, is_forced = options.is_resumed, options.is_forced
    seen = find_version(recipe.output)
    state = StateFile(recipe.output)
    if is_resumed and not state.exists() and (said := find_finished(recipe)):
        narrate(said)
        return recipe.output
    if not (is_resumed or is_forced):
        check_free(recipe, state.path, is_interrupted=state.exists())
    saved = None if is_forced else _saved(recipe, state)
    began: StartedTraining | None = None
    log: EpochLog | None = None
    for event in options.compute(_job(recipe, options.device, saved)):
        if isinstance(event, StartedTraining):
            began = event
            if is_forced:  # not earlier: the training could still have been refused
                state.remove()
            if options.results:
                log = EpochLog(
                    options.results, recipe, began, saved["state"]["epoch"] if saved else 0
                )
            continue
        assert began is not None  # StartedTraining is the first event
        if isinstance(event, EpochState):
            _keep(state, {"identity": began.identity, "state": event.state})
        elif isinstance(event, Learned):
            check_unchanged(recipe, seen, is_forced=is_forced)
            _save(recipe, event, began.training)
            # Also if the loss is not finite: the same recipe would end the same way.
            state.remove()
            _check(recipe, event)
            narrate(_describe(recipe, event))
        else:
            if log and event.validation:
                log.add(event, event.validation)
            report(event)
    return recipe.output


def _saved(recipe: Recipe, state: StateFile) -> dict[str, Any] | None:
    """The saved state of an interrupted training; None if there is none."""
    from gfnet.training.state import StateError

    try:
        return state.load()
    except StateError as err:
        raise TrainingError(f"{recipe.name}: {err} (--force)") from err


def _job(recipe: Recipe, device: str, saved: dict[str, Any] | None) -> TrainingJob:
    try:
        parent = recipe.parent.path.read_bytes() if recipe.parent else None
    except OSError as err:
        raise TrainingError(f"{recipe.name}: {err.filename} cannot be read") from err
    images = recipe.images.read(range(len(recipe.images)))
    return TrainingJob(recipe, images, parent, device, saved)


def _keep(state: StateFile, content: dict[str, Any]) -> None:
    try:
        state.save(content)
    except OSError as err:
        raise TrainingError(
            f"{state.path} cannot be written: {err.strerror}. The state saved before is kept: free"
            " some space and continue with --resume"
        ) from err


def _save(recipe: Recipe, learned: Learned, training: dict[str, Any]) -> None:
    """Write the checkpoint; if the loss became NaN or infinite, that of the best epoch before."""
    from gfnet.model import build

    if learned.outcome is None:
        raise TrainingError(
            f"{recipe.name}: {learned.stopped}; no epoch was finished, so nothing was written"
        )
    training = training | {"weights": recipe.weights} | asdict(learned.outcome)
    if learned.stopped:
        training["stopped"] = learned.stopped
    metadata = gfnet.Metadata(
        config=recipe.config,
        preprocessing=recipe.preprocessing,
        class_names=recipe.images.class_names,
        thresholds=_thresholds(recipe),
        training=training,
    )
    model = build(recipe.config)
    model.load_state_dict(learned.weights)
    try:
        gfnet.save_checkpoint(model, recipe.output, metadata, weights=recipe.weights)
    except OSError as err:
        raise TrainingError(f"{recipe.output} cannot be written: {err.strerror}") from err
    except gfnet.CheckpointError as err:
        raise TrainingError(f"{recipe.name}: {err}") from err


def _check(recipe: Recipe, learned: Learned) -> None:
    if learned.stopped and learned.outcome:
        raise TrainingError(
            f"{recipe.name}: {learned.stopped}; {recipe.output} holds the best epoch before,"
            f" {learned.outcome.best_epoch}, with {learned.outcome.validation_accuracy:.2f} % on"
            " the validation images"
        )


def _describe(recipe: Recipe, learned: Learned) -> str:
    assert learned.outcome is not None  # or nothing would have been saved
    return (
        f"{recipe.name} is trained: the checkpoint holds epoch {learned.outcome.best_epoch}, with"
        f" {learned.outcome.validation_accuracy:.2f} % on the validation images"
    )


def _thresholds(recipe: Recipe) -> tuple[float, ...]:
    from gfnet.training.exit_stage import THRESHOLD

    return (THRESHOLD,) * len(recipe.config.exit_blocks)


def _prepare(output: Path) -> None:
    """Check before the training, not after it, that its output can be written."""
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise TrainingError(f"{output.parent} cannot be created: {err.strerror}") from err
    if output.is_dir() or not os.access(output.parent, os.W_OK):
        raise TrainingError(f"{output} cannot be written; choose another output")
