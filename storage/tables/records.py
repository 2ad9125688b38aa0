"""Rows that describe a run (runs, cells, nodes) or a training, and their conversion to Arrow."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from storage.errors import DamagedError
from storage.tables.schemas import ADDED_COLUMNS, TABLES, build_table

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    import pyarrow as pa

    from storage.tables.kinds import CellKind

CellStatus = Literal["queued", "running", "done", "failed", "skipped", "cancelled"]
UntilOf = Literal["mean", "ratio"]
Metric = Literal["accuracy", "latency", "energy"]
FindingKind = Literal["step", "drift", "accuracy"]
Judgement = Literal["ok", "improvement", "suspect", "regression", "levels", "learning", "invalid"]
# The last two are never stored. A reader shows "interrupted" for a run stored as "running" if no
# process holds its lease, and "damaged" for a run whose small files cannot be read.
RunStatus = Literal["running", "done", "failed", "cancelled", "interrupted", "damaged"]


@dataclasses.dataclass(frozen=True)
class RunRow:
    """One run. Times are naive UTC; None means "not known" or "not yet"."""

    run_id: str
    name: str | None = None
    grid: str | None = None
    baseline: str | None = None
    status: RunStatus = "running"
    submitted_at: datetime | None = None
    finished_at: datetime | None = None
    gfjobs_version: str | None = None
    git_revision: str | None = None


@dataclasses.dataclass(frozen=True)
class CellRow:
    """One cell, the unit of work.

    `exit_blocks` are the blocks after which an image may exit; a static model has none, or only its
    last block. `threshold` is None for a static model, for an all-exit pass, and if `thresholds`
    differ between exits. `images` is the number of images requested per round, `rows` that of rows
    committed so far; for a profile, whose rows belong to no image, that of images. `protocol` is
    the version of the measurement protocol, `num_classes` that of the model, and `exit_rule` that
    by which its images exit, if it has exits; all are None in files of older schema versions, whose
    images exited by the gate. `checkpoint_sha256` and `checkpoint_bytes` are digest and size of its
    file, or of a bundle. `exit_params`, `exit_multiply_adds` and `exit_executed_multiply_adds` have
    one number per exit, the last block's last: what one image costs up to there, with filters as
    published and as its engine runs them. A number is None if a bundle does not say; all are None
    before schema version 7. `calibration_dataset`, `calibration_sha256` and `calibration_images`
    say which images the ranges of int8 were taken from; None in other precisions, and for a bundle,
    which has its ranges in it. `arrivals_per_s`, `arrivals_s` and `arrivals_seed` say how requests
    arrive at a served model: how many in a second on average, for how many seconds in a round, and
    from which seed; None for other kinds of cells. `borrowed_from` is the device whose all-exit
    pass answers all images, if this one answers a sample of them. With `until_pct`, rounds end when
    the 95 % interval of each figure (`until_of`) is no wider than so many percent to either side,
    at the latest after `max_rounds`: `rounds` are those that ran, once it is done, and
    `reached_pct` how wide the widest of its intervals is then; None if that is not known. Storage
    returns thresholds as the float32 nearest to the saved value.
    """

    run_id: str
    cell_id: str
    position: int | None = None
    kind: CellKind | None = None
    model: str | None = None
    checkpoint_sha256: str | None = None
    params: int | None = None
    depth: int | None = None
    exit_blocks: tuple[int, ...] | None = None
    dataset: str | None = None
    dataset_sha256: str | None = None
    device: str | None = None
    node: str | None = None
    runtime: str | None = None
    precision: str | None = None
    threads: int | None = None
    batch_size: int | None = None
    threshold: float | None = None
    thresholds: tuple[float, ...] | None = None
    images: int | None = None
    rounds: int | None = None
    status: CellStatus = "queued"
    attempts: int = 0
    rows: int = 0
    warmup_images: int | None = None
    is_valid: bool | None = None
    note: str | None = None
    error: str | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    protocol: int | None = None
    num_classes: int | None = None
    exit_rule: str | None = None
    checkpoint_bytes: int | None = None
    exit_params: tuple[int | None, ...] | None = None
    exit_multiply_adds: tuple[int | None, ...] | None = None
    exit_executed_multiply_adds: tuple[int | None, ...] | None = None
    calibration_dataset: str | None = None
    calibration_sha256: str | None = None
    calibration_images: int | None = None
    arrivals_per_s: float | None = None
    arrivals_s: float | None = None
    arrivals_seed: int | None = None
    borrowed_from: str | None = None
    until_pct: float | None = None
    until_of: UntilOf | None = None
    max_rounds: int | None = None
    reached_pct: float | None = None


@dataclasses.dataclass(frozen=True)
class NodeRow:
    """One node that a run used."""

    run_id: str
    node: str
    device: str | None = None
    host: str | None = None
    architecture: str | None = None
    accelerator: str | None = None
    python: str | None = None
    torch: str | None = None
    ray: str | None = None
    power_source: str | None = None
    power_mode: str | None = None
    are_clocks_locked: bool | None = None
    note: str | None = None


@dataclasses.dataclass(frozen=True)
class TrainingRow:
    """One finished epoch of one training.

    `loss` is the mean over the training images (in a phase of gates, the binary cross entropy). The
    validation figures are of the held-out images, routed if the model has exits;
    `validation_blocks` is None if no image can exit early. Losses are in nats. `is_best` says that
    no earlier epoch was better.
    """

    training_id: str
    recipe: str
    stage: str
    model: str
    dataset: str
    dataset_sha256: str
    phase: str
    epoch: int
    epochs: int
    loss: float
    validation_acc1: float
    validation_loss: float
    validation_blocks: float | None
    is_best: bool
    learning_rate: float
    images_per_s: float
    device: str
    node: str
    precision: str
    threads: int
    seed: int
    started_at: datetime
    finished_at: datetime


@dataclasses.dataclass(frozen=True)
class RegressionRow:
    """The verdict on one metric of one cell of a run, for one kind of finding.

    `value` and `expected` are in the metric's unit (percent, ms, mJ; divided by the change of the
    control, if `control` names one). `low` and `high` are the 95 % interval of `effect_pct`, which
    is in percent of the expected value, for accuracy in percentage points. A `suspect` was not
    measured again, `levels` is no slower than a level that the machine returns to by itself,
    `learning` has too few nights before it, `invalid` cannot be judged. `known_since` is the run in
    which the same regression was first reported.
    """

    run_id: str
    model: str | None
    dataset: str | None
    device: str | None
    node: str | None
    runtime: str | None
    precision: str | None
    threads: int | None
    batch_size: int | None
    threshold: float | None
    thresholds: tuple[float, ...] | None
    metric: Metric
    kind: FindingKind
    verdict: Judgement
    value: float | None = None
    expected: float | None = None
    low: float | None = None
    high: float | None = None
    effect_pct: float | None = None
    nights: int | None = None
    control: str | None = None
    control_share: float | None = None
    known_since: str | None = None
    confirmed_run_id: str | None = None
    note: str | None = None
    judged_at: datetime | None = None


Row = TypeVar("Row", RunRow, CellRow, NodeRow, TrainingRow, RegressionRow)

TABLE_OF_ROW = {
    RunRow: "runs",
    CellRow: "cells",
    NodeRow: "nodes",
    TrainingRow: "training",
    RegressionRow: "regressions",
}


def rows_to_table(row_type: type[Row], rows: Sequence[Row]) -> pa.Table:
    """Turn rows into the table of their type; without rows, into an empty, typed table.

    Raises: StorageError: a value does not fit its column.
    """
    return build_table(
        TABLE_OF_ROW[row_type],
        {
            field.name: [getattr(row, field.name) for row in rows]
            for field in dataclasses.fields(row_type)
        },
    )


def table_to_rows(row_type: type[Row], table: pa.Table) -> tuple[Row, ...]:
    """Turn a table with the columns of the row type into rows, lists into tuples.

    Raises: DamagedError: a column has another type, or one that every version has is missing.
    """
    name = TABLE_OF_ROW[row_type]
    # Files of an older version lack some columns; the fields for these have defaults.
    added = [column for column in ADDED_COLUMNS.get(name, ()) if column not in table.column_names]
    for field in TABLES[name]:
        if field.name in added:
            continue
        found = table.schema.get_field_index(field.name)
        if found < 0 or table.schema.field(found).type != field.type:
            raise DamagedError(
                f"a table of {name} is damaged (no column {field.name} of {field.type})"
            )
    names = [column for column in TABLES[name].names if column not in added]
    return tuple(row_type(**_fields(record)) for record in table.select(names).to_pylist())


def _fields(record: dict[str, Any]) -> dict[str, Any]:
    return {
        name: tuple(value) if isinstance(value, list) else value for name, value in record.items()
    }
