"""Data of the compared runs from SQL: cells, answers by image, times by round."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

import storage
from jobs.analysis.comparison.comparable import PLACE, make_identity
from jobs.analysis.statistics.log_ratio import Logs
from jobs.common.errors import UsageError
from jobs.common.formatting import Row, format_threshold


@dataclass(frozen=True)
class RunAnswers:
    """What the images of a cell were answered, in order of image_id; (N,) each."""

    dataset_sha256: str
    image_id: NDArray[np.int64]
    label: NDArray[np.int64]
    prediction: NDArray[np.int64]
    is_correct: NDArray[np.bool_]
    exit_block: NDArray[np.int64]


@dataclass(frozen=True)
class Times:
    """Logarithms of a cell's times on one node: (rounds, images), by number and by first image."""

    rounds: tuple[int, ...]
    images: tuple[int, ...]
    logs: Logs


@dataclass(frozen=True)
class Side:
    """One side of a comparison: the cells of a run, of one model or threshold where named."""

    run_id: str
    model: str | None = None
    threshold: float | None = None

    def has(self, row: Row) -> bool:
        """Whether a row of `measured` is on it; a static model is at every threshold."""
        return (self.model is None or row["model"] == self.model) and (
            self.threshold is None
            or row["threshold"] is None
            or row["threshold"] == float(np.float32(self.threshold))
        )


@dataclass
class MeasuredRun:
    """One run's rows, read when they are needed."""

    root: storage.Root
    side: Side
    rows: list[Row] = field(init=False)

    def __post_init__(self) -> None:
        """Read all but paths.

        Raises: UsageError: nothing is on this side.
        """
        run_id = self.side.run_id
        table = storage.named_query(self.root, "measured_in", run_ids=[run_id], run_id=run_id)
        self.all_rows: list[Row] = table.to_pylist()
        self.rows = [row for row in self.all_rows if self.side.has(row)]
        if not self.rows:
            known = ", ".join(
                sorted({f"{row['model']} at {format_threshold(row)}" for row in self.all_rows})
            )
            raise UsageError(
                f"run {run_id} has no such cells; it has {known or 'no accuracy or latency yet'}"
            )
        self.answers = read_run_answers(self.root, run_id)
        self.times = read_times(self.root, run_id)
        self.energies, self.rounds_without_energy = read_energies(self.root, run_id)

    @cached_property
    def paths(self) -> Mapping[tuple[str, int], str]:
        """The images of its data sets."""
        run_id = self.side.run_id
        table = storage.named_query(self.root, "images_of", run_ids=[run_id], run_id=run_id)
        return {(i["dataset_sha256"], i["image_id"]): i["path"] for i in table.to_pylist()}

    def control(self, row: Row, name: str | None) -> Row | None:
        """The timed cell of the control beside a cell."""
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
"""The first and the second that are compared."""


def read_run_answers(root: storage.Root, run_id: str) -> dict[str, RunAnswers]:
    """The answers of a run by cell_id, of each cell that the ladder has a row of."""
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
    """The values of one list of an Arrow table."""
    numbers: NDArray[Any] = values.values.to_numpy(zero_copy_only=False)
    return numbers


def read_times(root: storage.Root, run_id: str) -> dict[tuple[str, str | None], Times]:
    """The forward times of a run's routed cells by cell_id and node, in unthrottled rounds.

    What was timed at once, a batch, is one time. Only images that every round timed count.
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
    """Logarithms of the energy of an image in each round of a run's routed cells: one column.

    Returns: them by cell_id and node; and of each cell with a round that has none, why.
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
