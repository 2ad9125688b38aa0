"""Schemas, the strict table builder, and the row types that must agree with them."""

from __future__ import annotations

import dataclasses
import math
from datetime import datetime, timedelta, timezone

import numpy as np
import pyarrow as pa
import pytest

import storage
from storage.runs.manifests import CommitEntry
from storage.tables import schemas
from storage.tables.records import TABLE_OF_ROW


@pytest.mark.parametrize("row_type", TABLE_OF_ROW)
def test_row_types_have_exactly_the_columns_of_their_tables(
    row_type: type[
        storage.RunRow
        | storage.CellRow
        | storage.NodeRow
        | storage.TrainingRow
        | storage.RegressionRow
    ],
) -> None:
    """Same names in the same order."""
    names = [field.name for field in dataclasses.fields(row_type)]
    assert names == storage.TABLES[TABLE_OF_ROW[row_type]].names


def test_commit_entry_has_the_columns_of_commits() -> None:
    """All but run_id, which the run's folder says."""
    names = [field.name for field in dataclasses.fields(CommitEntry)]
    assert ["run_id", *names] == storage.TABLES["commits"].names


def test_tables_are_those_of_the_design() -> None:
    """The names that users and checks depend on, and the version in each schema."""
    assert list(storage.TABLES) == [
        "runs",
        "cells",
        "records",
        "exits",
        "exit_costs",
        "rounds",
        "power",
        "images",
        "nodes",
        "profile",
        "throughput",
        "responses",
        "reference_agreement",
        "commits",
        "regressions",
        "training",
    ]
    for schema in storage.TABLES.values():
        assert schema.metadata == {b"gfjobs_schema_version": b"8"}
        for field in schema:
            assert field.type != pa.timestamp("us", tz="UTC")


@pytest.mark.parametrize(
    ("table", "column", "kind"),
    [
        ("cells", "threshold", pa.float32()),
        ("cells", "thresholds", pa.list_(pa.float32())),
        ("records", "threshold", pa.float32()),
        ("exits", "gate_score", pa.float32()),
        ("records", "forward_ms", pa.float64()),
        ("records", "device_ms", pa.float64()),
        ("power", "power_mw", pa.float64()),
        ("exits", "exit_block", pa.int32()),
        ("records", "image_id", pa.int64()),
        ("records", "started_at", pa.timestamp("us")),
    ],
)
def test_types_that_comparisons_depend_on(table: str, column: str, kind: pa.DataType) -> None:
    """Scores and thresholds are float32, times float64, timestamps naive."""
    assert storage.TABLES[table].field(column).type == kind


def test_sort_keys_are_columns() -> None:
    """Every merged table is sorted by columns that it has."""
    for table, keys in schemas.SORT_KEYS.items():
        assert set(keys) <= set(storage.TABLES[table].names)


def test_scalars_are_broadcast_and_missing_columns_null() -> None:
    """The schema's columns in its order, whatever was given."""
    table = storage.build_table(
        "exits",
        {
            "image_id": np.arange(3),
            "run_id": "r",
            "threshold": 0.613,
            "is_correct": True,
            "exit_block": (1, 2, 3),
        },
    )
    assert table.schema.equals(storage.TABLES["exits"], check_metadata=True)
    assert table.select(["run_id", "image_id", "exit_block", "threshold", "label"]).to_pylist() == [
        {
            "run_id": "r",
            "image_id": i,
            "exit_block": i + 1,
            "threshold": float(np.float32(0.613)),
            "label": None,
        }
        for i in range(3)
    ]


@pytest.mark.parametrize("values", [[0.5, None, math.nan], (0.5, None, math.nan)])
def test_nan_stays_nan_and_none_becomes_null(values: list[float | None]) -> None:
    """A NaN gate score is not the absent score of the last block."""
    found = storage.build_table("exits", {"gate_score": values})["gate_score"]
    assert found.null_count == 1
    assert found[1].as_py() is None
    assert math.isnan(found[2].as_py())


def test_nan_in_arrays_and_scalars_stays_nan() -> None:
    """Numpy's NaN is not NULL either."""
    table = storage.build_table("exits", {"gate_score": np.array([1.0, np.nan]), "loss": math.nan})
    assert table["gate_score"].null_count == table["loss"].null_count == 0


def test_aware_times_are_stored_as_utc() -> None:
    """A time with a zone is turned into naive UTC."""
    zone = timezone(timedelta(hours=2))
    table = storage.build_table("runs", {"submitted_at": datetime(2026, 7, 1, 14, tzinfo=zone)})
    assert table["submitted_at"].to_pylist() == [datetime(2026, 7, 1, 12)]  # noqa: DTZ001


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"imge_id": 1},
            r"table exits has no column 'imge_id' \(did you mean 'image_id'\?\); its col",
        ),
        (
            {"image_id": [1, 2], "loss": [0.1]},
            "one exits table must have the same length; found image_id 2",
        ),
        ({"image_id": "x"}, "column image_id of table exits takes int64: found string"),
        ({"image_id": [1, 1.5]}, "column image_id of table exits takes int64: found double"),
        ({"image_id": np.array([1.0])}, "takes int64: found double"),
        ({"image_id": [True]}, "takes int64: found bool"),
        ({"is_correct": np.array([1, 0])}, "takes bool: found int64"),
        ({"exit_block": [2**40]}, "column exit_block of table exits takes int32"),
        ({"run_id": 5}, "column run_id of table exits takes string"),
        ({"loss": "x"}, "column loss of table exits takes float"),
        ({"image_id": np.array([[1]])}, "column image_id"),
        ({"image_id": object()}, "column image_id"),
    ],
)
def test_builder_refuses(columns: dict[str, object], message: str) -> None:
    """Unknown columns, unequal lengths and values of another type are errors."""
    with pytest.raises(storage.StorageError, match=message):
        storage.build_table("exits", columns)


def test_unknown_table_brings_the_nearest() -> None:
    """A typing error in a table name is easy to correct."""
    with pytest.raises(storage.StorageError, match=r"no table 'recrods' .did you mean 'records'"):
        storage.build_table("recrods", {})


def test_rows_survive_arrow() -> None:
    """Every field comes back, lists as tuples, thresholds as float32."""
    now = datetime(2026, 1, 1)  # noqa: DTZ001
    cell = storage.CellRow(
        "r",
        "c",
        3,
        "exits",
        "m",
        "sha",
        2**40,
        12,
        (7, 9),
        "d",
        "dsha",
        "cpu",
        "n",
        "torch",
        "float32",
        1,
        256,
        None,
        (0.5, math.inf),
        10,
        3,
        "done",
        2,
        30,
        100,
        True,
        "note",
        "error",
        now,
        now,
        1,
        10,
        "gate",
        2**33,
        (2**34, 2**35),
        (2**36, 2**37),
        (2**38, 2**39),
        "train",
        "sha of train",
        512,
        20.0,
        60.0,
        0,
        "cpu",
        0.5,
        "ratio",
        40,
        0.625,
    )
    assert None not in dataclasses.astuple(dataclasses.replace(cell, threshold=0.5))
    assert storage.table_to_rows(
        storage.CellRow, storage.rows_to_table(storage.CellRow, [cell])
    ) == (cell,)
    assert storage.rows_to_table(storage.NodeRow, []).num_rows == 0


@pytest.mark.parametrize("found", [b"9", b"0", b"none", b"1.5", b"-1", b"9" * 5000])
def test_unknown_versions_are_refused(found: bytes) -> None:
    """Only versions that this program knows are read."""
    with pytest.raises(storage.SchemaVersionError, match=r"x.parquet has schema version"):
        schemas.check_version(found, "x.parquet")
