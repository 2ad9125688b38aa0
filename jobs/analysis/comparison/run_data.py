"""Reads the data of the compared runs by SQL: cells, predictions by image, times by round."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

import storage
from jobs.analysis.comparison.comparable import PLACE, make_identity
from jobs.analysis.serving.served import has_load
from jobs.common.errors import UsageError
from jobs.common.formatting import Row, format_model, format_threshold
from jobs.statistics.log_ratio import Logs


@dataclass(frozen=True)
class RunAnswers:
    """The predictions of a cell, in order of image_id; (N,) each."""

    dataset_sha256: str
    image_id: NDArray[np.int64]
    label: NDArray[np.int64]
    prediction: NDArray[np.int64]
    is_correct: NDArray[np.bool_]
    exit_block: NDArray[np.int64]


@dataclass(frozen=True)
class Times:
    """Logarithms of a cell's times on one node: (rounds, images).

    An image is the first of its batch, by image_id.
    """

    rounds: tuple[int, ...]
    images: tuple[int, ...]
    logs: Logs


@dataclass(frozen=True)
class Side:
    """One side of a comparison: the cells of a run, limited to a model or threshold if given."""

    run_id: str
    model: str | None = None
    threshold: float | None = None

    def has(self, row: Row) -> bool:
        """Whether a row of `measured` is on this side; a static model is at every threshold."""
        return (self.model is None or row["model"] == self.model) and (
            self.threshold is None
            or (row["threshold"] is None and not row["thresholds"])
            or row["threshold"] == self._stored_threshold
        )

    def is_threshold_of(self, rows: Sequence[Row]) -> bool:
        """Whether any of a run's rows has the threshold, or all of the named model have none."""
        if self.threshold is None:
            return True
        found = {row["threshold"] for row in rows if self.model in (None, row["model"])}
        is_static = self.model is not None and found == {None}
        return self._stored_threshold in found or (
            is_static and 0 <= self._stored_threshold < np.inf
        )

    @property
    def _stored_threshold(self) -> float:
        """The threshold as rows have it, in float32; NaN for none."""
        with np.errstate(over="ignore"):  # a number beyond float32 is infinite
            return float(np.float32(np.nan if self.threshold is None else self.threshold))

    @property
    def asked(self) -> str:
        """What its cells are limited to, in words; empty if it is the whole run."""
        model = "" if self.model is None else f" of model {self.model}"
        return model if self.threshold is None else f"{model} at threshold {self.threshold:.9g}"


@dataclass
class MeasuredRun:
    """The measured rows of one side; paths and names of classes are read when needed."""

    root: storage.Root
    side: Side
    rows: list[Row] = field(init=False)

    def __post_init__(self) -> None:
        """Read all but the images.

        Raises: UsageError: this side has no cells, or none at its threshold.
        """
        run_id = self.side.run_id
        table = storage.named_query(self.root, "measured_in", run_ids=[run_id], run_id=run_id)
        self.all_rows: list[Row] = table.to_pylist()
        self.rows = [row for row in self.all_rows if self.side.has(row)]
        if not self.rows or not self.side.is_threshold_of(self.all_rows):
            known = ", ".join(
                sorted({format_model(row["model"], format_threshold(row)) for row in self.all_rows})
            )
            raise UsageError(
                f"run {run_id} has no cells{self.side.asked}; it has"
                f" {known or 'no accuracy or latency yet'}"
            )
        self.answers = read_run_answers(self.root, run_id)
        self.times = read_times(self.root, run_id)
        self.energies, self.rounds_without_energy = read_energies(self.root, run_id)

    @cached_property
    def has_load(self) -> bool:
        """Whether the run has cells under load, which are not compared."""
        return has_load(self.root, self.side.run_id)

    @cached_property
    def paths(self) -> Mapping[tuple[str, int], str]:
        """The paths of images, by dataset_sha256 and image_id."""
        return {(row["dataset_sha256"], row["image_id"]): row["path"] for row in self._images}

    @cached_property
    def class_names(self) -> Mapping[tuple[str, int], str]:
        """The names of classes, by dataset_sha256 and label; a class without a name is left out."""
        return {
            (row["dataset_sha256"], row["label"]): row["class_name"]
            for row in self._images
            if row["class_name"] is not None
        }

    @cached_property
    def _images(self) -> Sequence[Row]:
        run_id = self.side.run_id
        table = storage.named_query(self.root, "images_of", run_ids=[run_id], run_id=run_id)
        rows: list[Row] = table.to_pylist()
        return rows

    def control(self, row: Row, name: str | None) -> Row | None:
        """Return the timed cell of the control with the same setting as a cell, if any."""
        place = make_identity(row, PLACE)
        return next(
            (
                other
                for other in self.all_rows
                if other["model"] == name
                and make_identity(other, PLACE) == place
                and (other["cell_id"], other["node"]) in self.times
            ),
            None,
        )


Runs = tuple[MeasuredRun, MeasuredRun]
"""The first and the second run of a comparison."""


def read_run_answers(root: storage.Root, run_id: str) -> dict[str, RunAnswers]:
    """Return the predictions of a run by cell_id, for each cell with a row in the ladder."""
    table = storage.named_query(root, "answers_in", run_ids=[run_id], run_id=run_id)
    found = {}
    for place, (cell_id, sha256) in enumerate(
        zip(*(table[name].to_pylist() for name in ("cell_id", "dataset_sha256")), strict=True)
    ):
        columns = {
            name: _numbers(table[name][place])
            for name in ("image_id", "label", "prediction", "is_correct", "exit_block")
        }
        columns["is_correct"] = columns["is_correct"].astype(bool)
        found[cell_id] = RunAnswers(sha256, **columns)
    return found


def _numbers(values: Any) -> NDArray[Any]:
    """Convert one list of an Arrow table to an array."""
    numbers: NDArray[Any] = values.values.to_numpy(zero_copy_only=False)
    return numbers


def read_times(root: storage.Root, run_id: str) -> dict[tuple[str, str | None], Times]:
    """Return the forward times of a run's routed cells by cell_id and node, in unthrottled rounds.

    A batch is timed as a whole and has one time. Only images timed in every round count.
    """
    rows = storage.named_query(root, "timed_batches", run_ids=[run_id], run_id=run_id).to_pylist()
    found = {}
    for key, group in groupby(rows, key=lambda row: (row["cell_id"], row["node"])):
        rounds = {
            row["round"]: dict(
                zip(
                    row["first_image_id"],
                    np.log(np.array(row["total_ms"]) / np.array(row["images"])).tolist(),
                    strict=True,
                )
            )
            for row in group
        }
        images = sorted(set.intersection(*(set(times) for times in rounds.values())))
        if images:
            logs = np.array([[times[image] for image in images] for times in rounds.values()])
            found[key] = Times(tuple(rounds), tuple(images), logs)
    return found


def read_energies(
    root: storage.Root, run_id: str
) -> tuple[dict[tuple[str, str | None], Times], dict[tuple[str, str | None], str]]:
    """Return the logarithm of the energy per image in each round of a run's routed cells.

    Returns: by cell_id and node, one column each; and why each cell with a round without energy
        has none.
    """
    rows = storage.named_query(root, "energies_in", run_ids=[run_id], run_id=run_id).to_pylist()
    found, without = {}, {}
    for key, group in groupby(rows, key=lambda row: (row["cell_id"], row["node"])):
        rounds = list(group)
        if why := [f"{row['note']} in round {row['round']}" for row in rounds if row["note"]]:
            without[key] = why[0]
        else:
            logs = np.log(np.array([row["energy_mj"] for row in rounds]))[:, None]
            found[key] = Times(tuple(row["round"] for row in rounds), (0,), logs)
    return found, without
