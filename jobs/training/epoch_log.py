"""The rows of a training in the table `training`: one per finished epoch."""

from __future__ import annotations

import hashlib
import json
from datetime import timedelta
from typing import TYPE_CHECKING

import storage
from jobs.common.clock import now
from jobs.training.compute import StartedTraining
from jobs.training.recipe import Recipe

if TYPE_CHECKING:
    from gfnet.training.progress import EpochReport, Validation

_DIGITS = 8


class EpochLog:
    """The rows of one training, all rewritten after each epoch.

    A training is identified by its recipe's name and a digest of everything that determines its
    weights: repeating it replaces its rows, and a changed training gets rows of its own.

    Args:
        root: the results root.
        recipe: the recipe being trained.
        began: the device and settings of the training.
        done: epochs of an interrupted training that are kept; later rows are dropped, since those
            epochs are run again.
    """

    def __init__(
        self, root: storage.Root, recipe: Recipe, began: StartedTraining, done: int
    ) -> None:
        text = json.dumps(began.identity, sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]
        self._training_id = f"{recipe.name}-{digest}"
        self._recipe, self._began = recipe, began
        self._log = storage.TrainingLog(root, self._training_id)
        self._rows = [row for row in self._log.read() if row.epoch <= done] if done else []

    def add(self, report: EpochReport, found: Validation) -> None:
        """Write a finished epoch.

        Raises:
            StorageError: it cannot be written; the earlier epochs are still there.
        """
        recipe, began = self._recipe, self._began
        finished_at = now()
        row = storage.TrainingRow(
            training_id=self._training_id,
            recipe=recipe.name,
            stage=recipe.stage,
            model=recipe.output.stem,
            dataset=recipe.images.name,
            dataset_sha256=recipe.images.sha256,
            phase=report.phase,
            epoch=report.epoch,
            epochs=report.epochs,
            loss=report.loss,
            validation_acc1=found.accuracy,
            validation_loss=found.loss,
            validation_blocks=found.blocks,
            learning_rate=report.learning_rate,
            is_best=found.is_best,
            images_per_s=report.images_per_s,
            device=began.device,
            node=began.node,
            precision=began.precision,
            threads=recipe.threads,
            seed=recipe.schedule.seed,
            started_at=finished_at - timedelta(seconds=report.seconds),
            finished_at=finished_at,
        )
        self._rows.append(row)
        self._log.write(self._rows)
