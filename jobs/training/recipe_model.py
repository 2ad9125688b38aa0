"""The model of a recipe: its parent, its sizes, and its preprocessing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import gfnet
import storage
from gfnet.config import GROWING
from gfnet.preprocess import EXIF, INTERPOLATIONS
from jobs.common.yaml_document import Value
from jobs.grid.models import CheckpointModel, read_model
from jobs.training.recipe_fields import Entries
from jobs.training.recipe_keys import BELOW, SIZES

_START = {
    "baseline": (("gfnet", "gfnet-h"), "start from"),
    "exits": (GROWING, "add exits to"),
}
_TAUGHT = ("distillation", "exits")
"""Stages whose model has the classes of its parent."""

_FAMILY = {"baseline": "gfnet", "distillation": "gfnet-distil"}
_FEWEST_CLASSES = 2
_CHANNELS = 3
_MAX_SIZE = 4096  # pixels of an image, channels of a token


def read_parent(
    entries: Entries, stage: str | None, images: storage.ImageSet | None, base: Path
) -> CheckpointModel | None:
    """Reads the teacher or the start, whichever the stage has; None if there is a problem."""
    value = entries.get("teacher") or entries.get("start")
    model = read_model(value, base) if value else None
    if value is None or model is None:
        return None
    if not isinstance(model, CheckpointModel):
        value.problem(f"{model.name} is a bundle, which cannot be trained", "a checkpoint")
        return None
    if value is entries.get("start") and stage in _START:
        families, what = _START[stage]
        if model.config.family not in families or model.config.exit_blocks:
            found = model.config.family + (" with exits" if model.config.exit_blocks else "")
            allowed = " or ".join(families)
            value.problem(f"{model.name} is a {found}", f"a {allowed} without exits to {what}")
            return None
    if images is None or stage not in _TAUGHT:
        return model  # any classes will do: the head is trained from scratch
    classes = len(images.class_names)
    if model.config.num_classes != classes:
        value.problem(
            f"{model.name} has {model.config.num_classes} classes",
            f"a model of the {classes} classes of {images.name}",
        )
    elif model.metadata.class_names not in {(), images.class_names}:
        value.problem(
            f"{model.name} has the classes {', '.join(model.metadata.class_names)}",
            f"those of {images.name}, in this order: {', '.join(images.class_names)}",
        )
    return model


def read_config(
    entries: Entries,
    stage: str | None,
    images: storage.ImageSet | None,
    parent: CheckpointModel | None,
) -> gfnet.ModelConfig | None:
    """Reads the sizes of the resulting model."""
    if stage == "exits":
        return _exits_config(entries, parent)
    value, start = entries.get("model"), entries.get("start")
    if start is None:
        return _fresh_config(value, stage, images, parent) if value else None
    if value:
        value.problem("sizes with a start", "one of the two: the start's sizes are kept")
    if parent is None or images is None:
        return None
    return replace(parent.config, num_classes=len(images.class_names))


def _fresh_config(
    value: Value, stage: str | None, images: storage.ImageSet | None, parent: CheckpointModel | None
) -> gfnet.ModelConfig | None:
    model = Entries(value, BELOW["model"], tuple(SIZES))
    sizes: dict[str, Any] = {key: model.whole(key, 1, _MAX_SIZE) for key in SIZES}
    grid = model.get("filter_grid")
    sides = tuple(side.whole(1) for side in grid.items()) if grid else ()
    if stage not in _FAMILY or not model.is_sound("img_size"):
        return None
    if parent and parent.config.img_size != sizes["img_size"]:
        value.problem(
            f"img_size {sizes['img_size']}, but {parent.name} sees {parent.config.img_size} pixels",
            "the teacher's img_size: both see the same images",
        )
    if not model.is_sound("patch_size", *(["filter_grid"] if grid else [])):
        return None
    # What does not fit is told also if other values are wrong: these stand in for them.
    classes = len(images.class_names) if images else _FEWEST_CLASSES
    try:
        config = gfnet.ModelConfig(_FAMILY[stage], num_classes=classes, filter_grid=sides, **sizes)
    except gfnet.ConfigError as err:
        place = grid if grid and "filter_grid" in str(err) else value
        place.problem(str(err), "sizes that fit together")
        return None
    return config if images and model.is_sound(*SIZES) else None


def _exits_config(entries: Entries, parent: CheckpointModel | None) -> gfnet.ModelConfig | None:
    value = entries.get("exit_blocks")
    blocks = tuple(block.whole(0) for block in value.items()) if value else ()
    if value is None or parent is None or not blocks:
        return None
    try:
        return parent.config.grown(blocks)
    except gfnet.ConfigError as err:
        value.problem(str(err), "blocks of the start, ascending, without its last")
        return None


def read_preprocessing(
    entries: Entries, config: gfnet.ModelConfig | None, parent: CheckpointModel | None
) -> gfnet.Preprocessing | None:
    """Returns the parent's preprocessing, for the same images; without a parent, the recipe's."""
    if parent:
        return parent.metadata.preprocessing
    fields = Entries(entries.get("preprocessing"), BELOW["preprocessing"], ())
    chosen: dict[str, Any] = {
        "size": fields.whole("size", config.img_size if config else 1, _MAX_SIZE),
        "interpolation": fields.choice("interpolation", INTERPOLATIONS[::-1]),
        "exif": fields.choice("exif", EXIF),
    }
    for key, low in (("mean", 0.0), ("std", 1e-6)):
        if channels := fields.get(key):
            numbers = tuple(channel.number(low, 1) for channel in channels.items())
            if len(numbers) in {0, _CHANNELS}:
                chosen[key] = numbers
            else:
                channels.problem(f"{len(numbers)} numbers", "three, for red, green and blue")
    if config is None or () in chosen.values():
        return None
    return gfnet.Preprocessing(crop=config.img_size, **chosen)
