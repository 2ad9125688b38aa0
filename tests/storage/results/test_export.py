"""Golden bytes of each format, from one hard result."""

from __future__ import annotations

import io
import json
import math
from datetime import datetime
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import storage

HARD = pa.table(
    {
        "model": ['a "b", c', None, "line\nbreak é"],
        "threshold": pa.array([0.613, math.nan, None], pa.float32()),
        "acc1": pa.array([96.46, math.inf, None], pa.float64()),
        "exit_counts": pa.array([[0, 2396], [], None], pa.list_(pa.int64())),
        "thresholds": pa.array([[0.1, None], None, None], pa.list_(pa.float32())),
        "is_valid": [True, False, None],
        "at": pa.array(
            [datetime(2026, 1, 2, 3, 4, 5, 600000), None, None],  # noqa: DTZ001
            pa.timestamp("us"),
        ),
        "sum": pa.array([Decimal(12), None, Decimal(-1)], pa.decimal128(38, 0)),
    }
)

CSV = """\
model,threshold,acc1,exit_counts,thresholds,is_valid,at,sum
"a ""b"", c",0.613,96.46,"[0, 2396]","[0.1, NULL]",true,2026-01-02 03:04:05.6,12
,nan,inf,[],,false,,
"line
break é",,,,,,,-1
"""

JSON = """\
[
  {"model": "a \\"b\\", c", "threshold": 0.613, "acc1": 96.46, "exit_counts": [0, 2396], \
"thresholds": [0.1, null], "is_valid": true, "at": "2026-01-02T03:04:05.600000Z", "sum": 12},
  {"model": null, "threshold": null, "acc1": null, "exit_counts": [], "thresholds": null, \
"is_valid": false, "at": null, "sum": null},
  {"model": "line\\nbreak é", "threshold": null, "acc1": null, "exit_counts": null, \
"thresholds": null, "is_valid": null, "at": null, "sum": -1}
]
"""


def test_csv_is_golden() -> None:
    """Quotes, line breaks, lists, NULL, NaN and float32 as DuckDB writes them."""
    assert storage.encode(HARD, "csv").decode() == CSV


def test_json_is_golden() -> None:
    """Strict JSON: what has no number is null, and float32 keeps its short text."""
    assert storage.encode(HARD, "json").decode() == JSON


def test_parquet_comes_back_equal() -> None:
    """Nothing is lost on the way through Parquet."""
    back = pq.read_table(io.BytesIO(storage.encode(HARD, "parquet")))
    assert back.drop(["threshold", "acc1"]).equals(HARD.drop(["threshold", "acc1"]))
    assert math.isnan(back["threshold"][1].as_py())


@pytest.mark.parametrize(("format_", "expected"), [("csv", "a\n"), ("json", "[]\n")])
def test_no_rows(format_: str, expected: str) -> None:
    """An empty result is a header, or an empty array."""
    assert storage.encode(pa.table({"a": pa.array([], pa.int64())}), format_).decode() == expected


@pytest.mark.parametrize(("format_", "expected"), [("csv", ""), ("json", "[]\n")])
def test_no_columns(format_: str, expected: str) -> None:
    """A statement without a result is nothing at all."""
    assert storage.encode(pa.table({}), format_).decode() == expected


def test_nested_values_in_json() -> None:
    """Structs, maps and bytes have a form too."""
    table = pa.table(
        {
            "s": pa.array(
                [{"x": math.nan, "y": [1]}],
                pa.struct([("x", pa.float64()), ("y", pa.list_(pa.int32()))]),
            ),
            "m": pa.array([[(1, 2)]], pa.map_(pa.int32(), pa.int32())),
            "b": pa.array([b"\x00\xff"], pa.binary()),
        }
    )
    assert storage.encode(table, "json").decode() == (
        '[\n  {"s": {"x": null, "y": [1]}, "m": {"1": 2}, "b": "00ff"}\n]\n'
    )


def test_unknown_format_names_the_known() -> None:
    """The error lists what there is."""
    with pytest.raises(storage.StorageError, match="'xml' is not known; formats: csv, json, par"):
        storage.encode(HARD, "xml")


def test_rows_of_declared_columns() -> None:
    """NULL is null and an empty field, an empty text is told from it, and other keys are left."""
    rows = [
        {"model": "dynn", "threshold": 0.3, "thresholds": None, "other": 1},
        {"model": "", "threshold": None, "thresholds": (0.3, 0.7), "other": 2},
    ]
    columns = "model text, threshold float, thresholds floats"
    assert json.loads(storage.encode_rows(columns, rows, "json")) == [
        {"model": "dynn", "threshold": 0.3, "thresholds": None},
        {"model": "", "threshold": None, "thresholds": [0.3, 0.7]},
    ]
    assert storage.encode_rows(columns, rows, "csv").decode() == (
        'model,threshold,thresholds\ndynn,0.3,\n"",,"[0.3, 0.7]"\n'
    )
    assert storage.encode_rows(columns, [], "csv") == b"model,threshold,thresholds\n"


@pytest.mark.parametrize(
    ("kind", "value"),
    [("float", "–"), ("double", "0.5"), ("int", "1,234"), ("int", 1.5), ("floats", "[0.5]")],
)
def test_looks_of_a_value_are_refused(kind: str, value: object) -> None:
    """A dash is no number, nor is a formatted one; a list in words is no list."""
    with pytest.raises(storage.StorageError, match="column a of table result takes"):
        storage.encode_rows(f"a {kind}", [{"a": value}], "json")
