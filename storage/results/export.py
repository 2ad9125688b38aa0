"""Encodes a result for other programs: csv, json, parquet."""

from __future__ import annotations

import contextlib
import json
import math
import tempfile
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from storage.errors import StorageError
from storage.sql.sandbox import open_duckdb
from storage.sql.text import quote
from storage.tables.parquet import parquet_bytes
from storage.tables.schemas import build_column, make_schema

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


def encode(table: pa.Table, format: str) -> bytes:  # noqa: A002 (the word of the option)
    """Encode a result.

    * csv: with a header, NULL as an empty field, lists as DuckDB writes them: `[0, 1]`;
    * json: an array with one object per row and line; NaN and infinities, which JSON lacks, become
      null; float32 as the shortest text that gives it exactly; times as ISO 8601, in UTC: with a
      `Z`, as every timestamp without a zone is in UTC;
    * parquet: zstd.

    Raises: StorageError: another format.
    """
    if format not in _ENCODERS:
        raise StorageError(f"format {format!r} is not known; formats: {', '.join(FORMATS)}")
    return _ENCODERS[format](table)


def encode_rows(columns: str, rows: Sequence[Mapping[str, object]], format: str) -> bytes:  # noqa: A002
    """Encode rows as `encode` does, each value as the type of its column; None is NULL.

    A dash or a formatted number is no number, and is refused.

    Args:
        columns: names and types, as in `tables/schemas.py`: `model text, threshold float`.
        rows: values by column.
        format: as for `encode`.

    Raises: StorageError: another format, or a value of another type than its column.
    """
    schema = make_schema(columns)
    arrays = [
        build_column(
            "result", field, [row[field.name] for row in rows], len(rows), is_sequence=True
        )
        for field in schema
    ]
    return encode(pa.Table.from_arrays(arrays, schema=schema), format)


def _csv(table: pa.Table) -> bytes:
    if not table.num_columns:
        return b""
    connection = open_duckdb()
    with contextlib.closing(connection), tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.csv"
        connection.register("result_rows", table)
        connection.execute(f"COPY result_rows TO {quote(str(path))} (FORMAT csv, HEADER true)")
        return path.read_bytes()


def _json(table: pa.Table) -> bytes:
    columns = [_json_values(table, i) for i in range(table.num_columns)]
    names = table.column_names
    lines = [
        json.dumps(dict(zip(names, row, strict=True)), ensure_ascii=False, allow_nan=False)
        for row in zip(*columns, strict=True)
    ]
    return ("[\n  " + ",\n  ".join(lines) + "\n]\n" if lines else "[]\n").encode()


def table_values(table: pa.Table) -> list[list[object]]:
    """Return a result's rows as Python values; as text if Python has no such value.

    Raises: StorageError: the type cannot be converted to text either; cast it in the query.
    """
    columns = [_python_values(table, i) for i in range(table.num_columns)]
    return [list(row) for row in zip(*columns, strict=True)]


def _python_values(table: pa.Table, index: int) -> list[Any]:
    """Convert one column; times before year 1, after 9999 or in nanoseconds become text."""
    column = table.column(index)
    try:
        values: list[Any] = column.to_pylist()
    except (OverflowError, ValueError):
        try:
            values = column.cast(pa.string()).to_pylist()
        except pa.ArrowException as err:
            raise StorageError(
                f"column {table.column_names[index]} of type {column.type} cannot be shown: {err}; "
                "cast it to text in the query"
            ) from err
    return values


def _json_values(table: pa.Table, index: int) -> list[Any]:
    kind = table.column(index).type
    return [_json_value(value, kind) for value in _python_values(table, index)]


def _parquet(table: pa.Table) -> bytes:
    try:
        return parquet_bytes(table)
    except pa.ArrowException as err:
        raise StorageError(f"these rows cannot be written as Parquet: {err}; cast them") from err


def _json_value(value: Any, kind: pa.DataType) -> Any:  # noqa: PLR0911 (one per type)
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        return float(str(np.float32(value))) if pa.types.is_float32(kind) else value
    if isinstance(value, list):
        if pa.types.is_map(kind):
            return {str(key): _json_value(item, kind.item_type) for key, item in value}
        return [_json_value(item, kind.value_type) for item in value]
    if isinstance(value, dict):
        return {field.name: _json_value(value[field.name], field.type) for field in kind}
    if isinstance(value, (datetime, date, time)):
        is_utc = isinstance(value, datetime) and value.tzinfo is None
        return value.isoformat() + ("Z" if is_utc else "")
    if isinstance(value, Decimal):  # DuckDB's sum of integers is one
        return int(value) if value == value.to_integral_value() else float(value)
    if value is None or isinstance(value, (bool, int, str)):
        return value
    return value.hex() if isinstance(value, bytes) else str(value)


_ENCODERS: dict[str, Callable[[pa.Table], bytes]] = {
    "csv": _csv,
    "json": _json,
    "parquet": _parquet,
}
FORMATS = tuple(_ENCODERS)
