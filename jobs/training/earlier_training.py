"""An earlier training at a recipe's output: finished, resumable, or something else.

A checkpoint takes hours to train again, so none is replaced unless the user asks for it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import gfnet
from jobs.common.errors import UsageError
from jobs.training.compute import TrainingError, training_settings

if TYPE_CHECKING:
    from jobs.training.recipe import Recipe


def find_finished(recipe: Recipe) -> str:
    """Describe the finished training at the output; empty if there is no output.

    Raises:
        UsageError: the output was made by a different recipe, or not by a training.
        TrainingError: the training stopped early, and the same recipe would stop there again.
    """
    if not recipe.output.exists():
        return ""
    try:
        metadata = gfnet.inspect_checkpoint(recipe.output).metadata
    except gfnet.CheckpointError as err:
        raise UsageError(f"{recipe.name}: {err}; {_ways(recipe)}") from err
    training = metadata.training
    if "best_epoch" not in training:
        raise UsageError(
            f"{recipe.name}: {recipe.output} was not made by a training, so there is none to"
            f" resume; {_ways(recipe)}"
        )
    saved = dict(training) | _model(metadata.config, metadata.preprocessing)
    if changed := _changed(saved, recipe):
        raise UsageError(
            f"{recipe.name}: the training that made {recipe.output} had other settings:"
            f" {'; '.join(changed)}. Put them back, or: {_ways(recipe)}"
        )
    if "stopped" in training:
        raise TrainingError(
            f"{recipe.name}: {training['stopped']}; {recipe.output} holds the best epoch before,"
            f" {training['best_epoch']}, and the same recipe would end the same way. Change it,"
            f" then {_ways(recipe)}"
        )
    return (
        f"{recipe.name} is finished: {recipe.output} holds epoch {training['best_epoch']} of"
        f" {training['epochs']}, with {training['validation_accuracy']:.2f} % on the validation"
        " images; nothing is left to do"
    )


def check_free(recipe: Recipe, state_path: object, *, is_interrupted: bool) -> None:
    """Check that a training from the beginning would replace nothing.

    Args:
        recipe: the recipe to train.
        state_path: the file with the last epoch of an interrupted training.
        is_interrupted: whether that file exists.

    Raises:
        UsageError: a checkpoint or an interrupted training exists.
    """
    if is_interrupted:
        raise UsageError(
            f"{recipe.name}: a training was interrupted here, and {state_path} holds its last"
            " epoch; add --resume to continue it, or --force to start over"
        )
    if recipe.output.exists():
        raise UsageError(
            f"{recipe.name}: {recipe.output} already exists; add --resume to keep it if this recipe"
            f" made it, or {_ways(recipe)}"
        )


def _ways(recipe: Recipe) -> str:
    return f"add --force to train again and replace {recipe.output.name}, or choose another with -o"


def _model(config: gfnet.ModelConfig, preprocessing: gfnet.Preprocessing) -> dict[str, Any]:
    return {"model": config.to_json(), "preprocessing": preprocessing.to_json()}


def _changed(saved: Mapping[str, Any], recipe: Recipe) -> list[str]:
    """The settings in which a recipe and a checkpoint differ, with both values.

    Settings that a checkpoint of an older version lacks are not compared, nor are those that a
    recipe leaves to the machine.
    """
    from gfnet.training.state import differences  # loads torch

    wanted = training_settings(recipe) | _model(recipe.config, recipe.preprocessing)
    wanted |= {"weights": recipe.weights, "precision": recipe.precision}
    if recipe.precision == "auto":
        del wanted["precision"]
    wanted = json.loads(json.dumps(wanted))  # tuples are lists in the file
    parents = {"parent": saved.get("parent")}, {"parent": wanted.get("parent")}
    shared = _shared(saved, wanted) | parents[0], _shared(wanted, saved) | parents[1]
    return list(differences(*shared))


def _shared(values: Mapping[str, Any], others: Mapping[str, Any]) -> dict[str, Any]:
    """The values whose keys are in both, at every depth."""
    return {
        key: _shared(value, others[key])
        if isinstance(value, dict) and isinstance(others[key], dict)
        else value
        for key, value in values.items()
        if key in others
    }
