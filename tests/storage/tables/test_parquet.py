"""Parquet files of ours."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import storage
from storage.backends.local import LocalBackend
from storage.tables.parquet import brief_parquet_bytes, publish_table, read_table
from storage.tables.schemas import TABLES

READ = """
import os, pathlib, sys
from storage.tables.parquet import check_columns, read_table
from storage.backends.local import LocalBackend
place = LocalBackend(pathlib.Path(sys.argv[1]))
before = set(os.listdir("/proc/self/task"))
check_columns(place, "records")
assert read_table(place).num_rows == 1000
print(len(set(os.listdir("/proc/self/task")) - before))
"""


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="counts threads as Linux does")
def test_reading_starts_no_thread(tmp_path: Path) -> None:
    """One that holds Python's objects when the interpreter ends would abort a finished command."""
    schema = TABLES["records"]
    columns = [pa.nulls(1000, field.type) for field in schema]
    nullable = pa.schema([field.with_nullable(True) for field in schema], schema.metadata)
    publish_table(LocalBackend(tmp_path / "rows.parquet"), pa.table(columns, schema=nullable))
    command = [sys.executable, "-c", READ, str(tmp_path / "rows.parquet")]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ended.stdout.split() == ["0"]


@pytest.mark.parametrize("scores", [[0.5, 0.5, math.nan], [0.5, 0.75, math.nan]])
def test_a_nan_is_seen_by_filters(tmp_path: Path, scores: list[float]) -> None:
    """Statistics leave it out: DuckDB would filter as if it were not there."""
    table = storage.build_table("exits", {"image_id": [0, 1, 2], "gate_score": scores, "loss": 1.0})
    publish_table(LocalBackend(tmp_path / "x.parquet"), table)
    sql = f"SELECT image_id FROM '{tmp_path}/x.parquet' WHERE isnan(gate_score)"  # noqa: S608 (ours)
    assert duckdb.sql(sql).fetchall() == [(2,)]
    statistics = pq.read_metadata(tmp_path / "x.parquet").row_group(0)
    names = table.column_names
    assert statistics.column(names.index("gate_score")).statistics is None
    assert statistics.column(names.index("loss")).statistics.has_min_max


@pytest.mark.parametrize("scores", [[0.5, 0.5, math.nan], [0.5, 0.75, math.nan]])
def test_rows_that_are_written_briefly_are_the_same(tmp_path: Path, scores: list[float]) -> None:
    """They have no statistics that leave out a NaN; those of text let DuckDB skip a file."""
    columns = {"cell_id": "a", "image_id": [0, 1, 2], "gate_score": scores, "loss": 1.0}
    table = storage.build_table("exits", columns)
    file = tmp_path / "x.parquet"
    file.write_bytes(brief_parquet_bytes(table))
    sql = f"SELECT image_id FROM '{file}' WHERE isnan(gate_score)"  # noqa: S608 (ours)
    assert duckdb.sql(sql).fetchall() == [(2,)]
    found = read_table(LocalBackend(file))
    assert found.schema.equals(table.schema, check_metadata=True)
    assert str(found.to_pydict()) == str(table.to_pydict())  # a NaN is not equal to itself
    statistics = pq.read_metadata(file).row_group(0)
    assert statistics.column(table.column_names.index("cell_id")).statistics.max == "a"
    assert statistics.column(table.column_names.index("gate_score")).statistics is None
