"""Readers of a recipe's keys; problems are recorded in the document."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import storage
from gfnet.training.settings import (
    FLIPS,
    INITIAL_FILTERS,
    OPTIMIZERS,
    TEACHING,
    Augmentation,
    EpochSchedule,
    ExitTraining,
    HoldOut,
    Teaching,
)
from jobs.common.yaml_document import Document, Value
from jobs.grid.downloads import open_or_download
from jobs.grid.models import CheckpointModel
from jobs.training.recipe_keys import BELOW, COMMON, KEYS, OF_STAGE, OPTIONAL

_MAX_SEED = 2**32 - 1
MAX_THREADS = 1024
_MAX_EMA_DECAY = 0.99999
_SUFFIX = ".safetensors"


class Entries:
    """The values of one mapping; any may be absent."""

    def __init__(self, value: Value | None, keys: Collection[str], required: Sequence[str]) -> None:
        self._values = value.mapping(keys, required) if value else {}

    def get(self, key: str) -> Value | None:
        """Returns the value, or None if it is absent."""
        return self._values.get(key)

    def is_sound(self, *keys: str) -> bool:
        """Whether these values are there and no problem was found in them so far."""
        values = [self._values.get(key) for key in keys]
        return all(
            value and not any(each.key.startswith(value.key) for each in value.document.problems)
            for value in values
        )

    def text(self, key: str) -> str:
        """As `Value.text`; empty if absent."""
        return self._values[key].text() if key in self._values else ""

    def whole(self, key: str, low: int, high: int | None = None) -> int:
        """As `Value.whole`; `low` if absent."""
        return self._values[key].whole(low, high) if key in self._values else low

    def number(self, key: str, low: float, high: float) -> float:
        """As `Value.number`; `low` if absent."""
        return self._values[key].number(low, high) if key in self._values else low

    def choice(self, key: str, options: Sequence[str]) -> str:
        """As `Value.choice`; the first option if absent."""
        return self._values[key].choice(options, key) if key in self._values else options[0]


def read_stage(root: Value) -> str | None:
    """Reads the stage, on which the allowed keys depend; None if there is none."""
    # A scratch document: problems are reported by `read_entries`.
    scratch = Document(root.document.path, root.document.text).root()
    value = scratch.mapping(KEYS).get("stage") if scratch.is_mapping else None
    if value and value.is_scalar and value.node.value in OF_STAGE:
        return str(value.node.value)
    return None


def read_entries(root: Value, stage: str | None) -> Entries:
    """Reads the values; without a stage the keys of all stages are allowed."""
    keys = (*COMMON, *OF_STAGE[stage]) if stage else tuple(KEYS)
    entries = Entries(root, keys, _required_keys(root, stage))
    entries.choice("stage", tuple(OF_STAGE))
    return entries


def read_images(entries: Entries, base: Path) -> storage.ImageSet | None:
    """Opens the training split; no other split is opened."""
    value = entries.get("dataset")
    name = value.text() if value else ""
    if value is None or not name:
        return None
    try:
        return open_or_download(name, "train", base=base)
    except storage.DatasetError as err:
        value.problem(str(err), "a data set with a training split")
        return None


def _required_keys(root: Value, stage: str | None) -> list[str]:
    """The keys that a recipe of this stage must have."""
    own = OF_STAGE[stage] if stage else ()
    keys = [key for key in (*COMMON, *own) if key not in OPTIONAL]
    if stage != "baseline":
        return keys
    is_going_on = any(key.value == "start" for key, _ in root.node.value)
    return [key for key in keys if key != ("model" if is_going_on else "start")]


def read_validation(
    entries: Entries, images: storage.ImageSet | None, parent: CheckpointModel | None
) -> HoldOut:
    """Reads which images are held out; the parent must not have been trained on them either."""
    value = entries.get("validation")
    fields = Entries(value, BELOW["validation"], tuple(BELOW["validation"]))
    validation = HoldOut(fields.number("fraction", 0.01, 0.5), fields.whole("seed", 0, _MAX_SEED))
    learned = parent.metadata.training if parent else {}
    if value and images and learned.get("dataset_sha256") == images.sha256:
        theirs = learned.get("validation")
        theirs = theirs if isinstance(theirs, dict) else {}  # a checkpoint may hold any value
        if (theirs.get("fraction"), theirs.get("seed")) != (validation.fraction, validation.seed):
            value.problem(
                f"{parent.name if parent else ''} was trained with another choice of the same"
                " images, so it has seen some of those held out here",
                f"fraction: {theirs.get('fraction')}, seed: {theirs.get('seed')}",
            )
    return validation


def read_epoch_schedule(entries: Entries) -> EpochSchedule:
    """Reads epochs, batch size, learning rate and the other keys of the schedule."""
    epochs = entries.whole("epochs", 1)
    # At least one epoch must follow the warm-up; there is no limit if `epochs` is wrong.
    longest_warmup = epochs - 1 if entries.is_sound("epochs") else None
    return EpochSchedule(
        epochs=epochs,
        batch_size=entries.whole("batch_size", 1),
        learning_rate=entries.number("learning_rate", 1e-7, 1),
        weight_decay=entries.number("weight_decay", 0, 10),
        warmup_epochs=entries.whole("warmup_epochs", 0, longest_warmup),
        seed=entries.whole("seed", 0, _MAX_SEED),
        ema_decay=entries.number("ema_decay", 0, _MAX_EMA_DECAY),
        optimizer=entries.choice("optimizer", OPTIMIZERS),
    )


def read_augmentation(entries: Entries, stage: str | None, crop: int | None) -> Augmentation:
    """Reads the augmentation; padding beyond the crop's side could leave nothing of an image.

    There is no limit on padding if the crop is not known.
    """
    fields = Entries(entries.get("augmentation"), BELOW["augmentation"], ())
    flips = fields.get("flips")
    if stage == "exits":
        for key in ("mixup", "cutmix"):
            if mixed := fields.get(key):
                mixed.problem(
                    f"{key} in the stage exits", "no mixed images: a gate judges whole images"
                )
    return Augmentation(
        rotate_degrees=fields.number("rotate_degrees", 0, 180),
        shift=fields.number("shift", 0, 0.5),
        scale=fields.number("scale", 0, 0.9),
        crop_padding=fields.whole("crop_padding", 0, crop),
        flips=tuple(flip.choice(FLIPS, "flip") for flip in flips.items()) if flips else (),
        trivial=fields.choice("trivial", ("false", "true")) == "true",
        erase=fields.number("erase", 0, 1),
        mixup=fields.number("mixup", 0, 10),
        cutmix=fields.number("cutmix", 0, 10),
    )


def read_exits(entries: Entries, schedule: EpochSchedule) -> ExitTraining:
    """Reads how exits are trained; some epochs must be left for the gates."""
    is_known = entries.is_sound("epochs", "warmup_epochs")
    longest = max(schedule.epochs - schedule.warmup_epochs - 1, 0) if is_known else None
    return ExitTraining(
        cost_weight=entries.number("cost_weight", 0, 1e3),
        phase_epochs=entries.whole("phase_epochs", 1),
        joint_epochs=entries.whole("joint_epochs", 0, longest),
    )


def read_teaching(entries: Entries) -> Teaching:
    """Reads what a student learns from its teacher."""
    value = entries.get("teaching")
    fields = Entries(value, BELOW["teaching"], ("kind",))
    kind, temperature = fields.choice("kind", TEACHING), fields.get("temperature")
    if kind == "hard" and temperature:
        temperature.problem("hard teaching has no temperature", "kind: soft, or no temperature")
    if kind == "soft" and value and not temperature:
        value.problem("the key temperature is missing", "soft teaching needs it")
    return Teaching(kind, fields.number("temperature", 1, 100))


def read_initial_filters(entries: Entries) -> str:
    """Reads how the filters of a new model are initialised; a start has its own filters."""
    value = entries.get("initial_filters")
    if value and entries.get("start"):
        value.problem("initial_filters with a start", "one of the two: the start's are kept")
    return entries.choice("initial_filters", INITIAL_FILTERS)


def read_output(entries: Entries, base: Path) -> Path:
    """Reads the path of the checkpoint to write."""
    value = entries.get("output")
    text = value.text() if value else ""
    if value and text and not text.endswith(_SUFFIX):
        value.problem(f"{text!r}", f"a path that ends in {_SUFFIX}")
    return base / text
