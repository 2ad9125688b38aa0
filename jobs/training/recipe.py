"""Recipes: the input of `gfjobs train`, read from YAML and checked as a whole before it runs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import gfnet
import storage
from gfnet.training.settings import (
    PRECISIONS,
    Augmentation,
    EpochSchedule,
    ExitTraining,
    HoldOut,
    Teaching,
)
from jobs.common.yaml_document import Document, Value
from jobs.grid.models import CheckpointModel
from jobs.training import recipe_fields as fields
from jobs.training.recipe_keys import WEIGHTS
from jobs.training.recipe_model import read_config, read_parent, read_preprocessing


@dataclass(frozen=True)
class Recipe:
    """One training whose settings fit each other, the data set and the parent.

    Attributes:
        name: name of the recipe; stored in the checkpoint.
        stage: `baseline`, `distillation` or `exits`.
        images: the training split; no other split is opened.
        validation: the part of it that is held out to choose by.
        config: of the resulting model.
        preprocessing: of its images.
        parent: the teacher of a student, the student that gets exits, or the checkpoint that a
            baseline starts from; None for a baseline from scratch.
        schedule: epochs, learning rate and the like.
        augmentation: of the training images.
        initial_filters: one of INITIAL_FILTERS: how the filters of a new model are initialised.
        label_smoothing: of a baseline, and of a student's class head.
        teaching: what a student learns from its teacher.
        exits: how exits are traded against their cost.
        precision: of the matrix products: `float32`, `bfloat16`, or `auto`, the faster one.
        weights: `float32` or `float16`: how the checkpoint stores them.
        threads: CPU threads; with another number the weights differ in their last bits.
        output: the checkpoint to write.
    """

    name: str
    stage: str
    images: storage.ImageSet
    validation: HoldOut
    config: gfnet.ModelConfig
    preprocessing: gfnet.Preprocessing
    parent: CheckpointModel | None
    schedule: EpochSchedule
    augmentation: Augmentation
    initial_filters: str
    label_smoothing: float
    teaching: Teaching
    exits: ExitTraining
    precision: str
    weights: str
    threads: int
    output: Path


def read_recipe(path: str | Path) -> Recipe:
    """Read and check a recipe; paths in it are relative to its folder.

    Raises:
        BadInputError: all problems of the file, each with its line and key.
    """
    document = Document.read(path)
    recipe = _read(document.root(), document.path.absolute().parent)
    document.check()
    assert recipe is not None  # if it is None, check() has raised
    return recipe


def _read(root: Value, base: Path) -> Recipe | None:
    """The recipe; None if its stage, data set, sizes or parent have a problem.

    All other keys are read nevertheless, so that their problems are told too.
    """
    stage = fields.read_stage(root)
    entries = fields.read_entries(root, stage)
    images = fields.read_images(entries, base)
    parent = read_parent(entries, stage, images, base)
    config = read_config(entries, stage, images, parent)
    preprocessing = read_preprocessing(entries, config, parent)
    schedule = fields.read_epoch_schedule(entries)
    read = partial(
        Recipe,
        name=entries.text("name"),
        validation=fields.read_validation(entries, images, parent),
        parent=parent,
        schedule=schedule,
        augmentation=fields.read_augmentation(entries, stage, config.img_size if config else None),
        initial_filters=fields.read_initial_filters(entries),
        label_smoothing=entries.number("label_smoothing", 0, 0.99),
        teaching=fields.read_teaching(entries),
        exits=fields.read_exits(entries, schedule),
        precision=entries.choice("precision", PRECISIONS),
        weights=entries.choice("weights", WEIGHTS),
        threads=entries.whole("threads", 1, fields.MAX_THREADS),
        output=fields.read_output(entries, base),
    )
    if stage is None or images is None or config is None or preprocessing is None:
        return None
    return read(stage=stage, images=images, config=config, preprocessing=preprocessing)
