"""The schemas of all tables: column names, types, sort orders, and the version they carry.

Version history (a new or changed column makes a new version, with a line here):

* 1: the first.
* 2: the table `reference_agreement`.
* 3: `shard` and `exit_block` of `power`: a window is of one task, or of one forced exit.
* 4: manifests have a digest of each data file, and name the summary of a run.
* 5: the table `regressions`; `protocol` of `cells`.
* 6: `num_classes` and `exit_rule` of `cells`.
* 7: what each exit costs, and the size of the checkpoint, in `cells`; what a task took of its
  worker besides time, in `commits`; `cpu_clock_mhz`, `emc_clock_mhz`, `trip_c`, `fan_pct` and
  `from_log` of `rounds`; `power_mode` has the mode's name with its number; `device_ms` of
  `records`; `gpu_others` of `rounds`.
* 8: borrowed accuracy, rounds until a width, throughput and serving.

Types: thresholds and scores are float32, because the router compares in float32 and in SQL a
DOUBLE 0.613 is not the FLOAT 0.613. Timestamps are naive microseconds in UTC: DuckDB's
TIMESTAMP WITH TIME ZONE needs ICU and pytz. Column names include their units.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from storage.errors import SchemaVersionError, StorageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

SCHEMA_VERSION = 8
VERSION_KEY = "gfjobs_schema_version"

_TIME = pa.timestamp("us")
_TYPES = {
    "text": pa.string(),
    "int": pa.int32(),
    "long": pa.int64(),
    "bool": pa.bool_(),
    "float": pa.float32(),
    "double": pa.float64(),
    "time": _TIME,
    "ints": pa.list_(pa.int32()),
    "longs": pa.list_(pa.int64()),
    "floats": pa.list_(pa.float32()),
}

# Columns of the cell that each image row repeats, so that queries on rows need no join.
_OF_CELL = """
node text, device text, model text, dataset text, runtime text, precision text,
batch_size int, threshold float
"""

_COLUMNS = {
    "runs": """
run_id text, name text, grid text, baseline text, status text, submitted_at time,
finished_at time, gfjobs_version text, git_revision text
""",
    "cells": """
run_id text, cell_id text, position int, kind text, model text, checkpoint_sha256 text,
params long, depth int, exit_blocks ints, dataset text, dataset_sha256 text, device text,
node text, runtime text, precision text, threads int, batch_size int, threshold float,
thresholds floats, images int, rounds int, status text, attempts int, rows long,
warmup_images int, is_valid bool, note text, error text, started_at time, finished_at time,
protocol int, num_classes int, exit_rule text, checkpoint_bytes long, exit_params longs,
exit_multiply_adds longs, exit_executed_multiply_adds longs, calibration_dataset text,
calibration_sha256 text, calibration_images int, arrivals_per_s double, arrivals_s double,
arrivals_seed long, borrowed_from text, until_pct double, until_of text, max_rounds int,
reached_pct double
""",
    "records": f"""
run_id text, cell_id text, round int, image_id long, label long, prediction int,
is_correct bool, is_top5 bool, loss float, exit_block int, gate_score float,
forward_ms double, elapsed_ms double, started_at time, is_throttled bool, {_OF_CELL},
device_ms double
""",
    "exits": f"""
run_id text, cell_id text, image_id long, label long, exit_block int, gate_score float,
prediction int, is_correct bool, is_top5 bool, loss float, max_prob float, margin float,
entropy float, {_OF_CELL}
""",
    "exit_costs": """
run_id text, cell_id text, round int, image_id long, exit_block int, forward_ms double
""",
    "rounds": """
run_id text, cell_id text, round int, node text, position int, started_at time, ended_at time,
clock_mhz double, temperature_c double, throttle_reasons text, governor text, power_mode text,
load double, is_throttled bool, cpu_clock_mhz double, emc_clock_mhz double, trip_c double,
fan_pct double, from_log text, gpu_others int, pause_ratios floats
""",
    "power": """
run_id text, cell_id text, round int, node text, rail text, phase text, sampled_at time,
power_mw double, shard int, exit_block int
""",
    "images": "dataset_sha256 text, image_id long, path text, label long, class_name text",
    "nodes": """
run_id text, node text, device text, host text, architecture text, accelerator text,
python text, torch text, ray text, power_source text, power_mode text, are_clocks_locked bool,
note text
""",
    "profile": """
run_id text, cell_id text, component text, block int, calls long, total_ms double, share double
""",
    "throughput": """
run_id text, cell_id text, round int, batch int, images int, forward_ms double,
elapsed_ms double
""",
    "responses": """
run_id text, cell_id text, round int, request int, image_id long, exit_block int,
arrived_ms double, began_ms double, ended_ms double
""",
    "reference_agreement": """
run_id text, cell_id text, round int, shard int, images long, max_logit_difference double,
answer_flips long, exit_flips long, max_gate_difference double
""",
    "commits": """
run_id text, cell_id text, round int, shard int, node text, rows long, busy_s double,
committed_at time, note text, load_s double, build_s double, first_answer_s double,
peak_process_bytes long, peak_device_bytes long
""",
    "regressions": """
run_id text, model text, dataset text, device text, node text, runtime text, precision text,
threads int, batch_size int, threshold float, thresholds floats, metric text, kind text,
verdict text, value double, expected double, low double, high double, effect_pct double,
nights int, control text, control_share double, known_since text, confirmed_run_id text,
note text, judged_at time
""",
    "training": """
training_id text, recipe text, stage text, model text, dataset text, dataset_sha256 text,
phase text, epoch int, epochs int, loss double, validation_acc1 double, validation_loss double,
validation_blocks double, is_best bool, learning_rate double, images_per_s double, device text,
node text, precision text, threads int, seed long, started_at time, finished_at time
""",
}


def make_schema(columns: str) -> pa.Schema:
    """Make the schema of columns written as above: `model text, threshold float`."""
    fields = [column.split() for column in columns.replace("\n", " ").split(",")]
    return pa.schema(
        [pa.field(name, _TYPES[kind]) for name, kind in fields],
        metadata={VERSION_KEY: str(SCHEMA_VERSION)},
    )


TABLES: dict[str, pa.Schema] = {name: make_schema(columns) for name, columns in _COLUMNS.items()}

# Columns that files of older versions lack; read as NULL.
ADDED_COLUMNS = {
    "cells": {
        "protocol": "INTEGER",
        "num_classes": "INTEGER",
        "exit_rule": "VARCHAR",
        "checkpoint_bytes": "BIGINT",
        "exit_params": "BIGINT[]",
        "exit_multiply_adds": "BIGINT[]",
        "exit_executed_multiply_adds": "BIGINT[]",
        "calibration_dataset": "VARCHAR",
        "calibration_sha256": "VARCHAR",
        "calibration_images": "INTEGER",
        "arrivals_per_s": "DOUBLE",
        "arrivals_s": "DOUBLE",
        "arrivals_seed": "BIGINT",
        "borrowed_from": "VARCHAR",
        "until_pct": "DOUBLE",
        "until_of": "VARCHAR",
        "max_rounds": "INTEGER",
        "reached_pct": "DOUBLE",
    },
    "power": {"shard": "INTEGER", "exit_block": "INTEGER"},
    "commits": {
        "load_s": "DOUBLE",
        "build_s": "DOUBLE",
        "first_answer_s": "DOUBLE",
        "peak_process_bytes": "BIGINT",
        "peak_device_bytes": "BIGINT",
    },
    "rounds": {
        "cpu_clock_mhz": "DOUBLE",
        "emc_clock_mhz": "DOUBLE",
        "trip_c": "DOUBLE",
        "fan_pct": "DOUBLE",
        "from_log": "VARCHAR",
        "gpu_others": "INTEGER",
        "pause_ratios": "FLOAT[]",
    },
    "records": {"device_ms": "DOUBLE"},
}

# Tables whose views add the digest of the data set, from the cell of each row. It is in no file, so
# rows of every version have it. Images are joined by it, since two data sets share image_ids.
DIGEST_TABLES = ("records", "exits", "exit_costs")
DIGEST = "dataset_sha256"


# The order of rows in a merged file: by cell, so that row-group statistics skip other cells.
SORT_KEYS: dict[str, tuple[str, ...]] = {
    "records": ("run_id", "cell_id", "round", "image_id"),
    "exits": ("run_id", "cell_id", "image_id", "exit_block"),
    "exit_costs": ("run_id", "cell_id", "round", "image_id", "exit_block"),
    "rounds": ("run_id", "cell_id", "round"),
    "power": ("run_id", "cell_id", "round", "node", "rail", "sampled_at"),
    "profile": ("run_id", "cell_id", "component", "block"),
    "throughput": ("run_id", "cell_id", "round", "batch"),
    "responses": ("run_id", "cell_id", "round", "request"),
    "reference_agreement": ("run_id", "cell_id", "round", "shard"),
    "commits": ("run_id", "cell_id", "round", "shard"),
}

# Tables that a commit may carry; the others are saved whole.
COMMITTED_TABLES = tuple(name for name in SORT_KEYS if name != "commits")


def table_schema(name: str) -> pa.Schema:
    """Return the schema of a table.

    Raises: StorageError: there is no such table.
    """
    if name not in TABLES:
        msg = f"there is no table {name!r}{nearest(name, TABLES)}; tables: {', '.join(TABLES)}"
        raise StorageError(msg)
    return TABLES[name]


def make_empty_table(name: str) -> pa.Table:
    """Return a table without rows.

    pyarrow's own way imports pandas, if it is installed: 0.2 s of each command that reads results.

    Args:
        name: a key of TABLES.
    """
    schema = TABLES[name]
    return pa.Table.from_arrays([pa.nulls(0, field.type) for field in schema], schema=schema)


def join_tables(name: str, tables: Iterable[pa.Table]) -> pa.Table:
    """Return tables of one name as one with today's columns, NULL where an older version has none.

    Args:
        name: a key of TABLES.
        tables: as read from files of any version; without any, the result has no rows.
    """
    return pa.concat_tables([make_empty_table(name), *tables], promote_options="default")


def nearest(name: str, known: Mapping[str, object] | tuple[str, ...]) -> str:
    """Return a hint at the known name most similar to `name`; empty if none is similar."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def check_version(found: object, where: str) -> None:
    """Refuse a file of a newer version, whose columns may mean something else.

    Raises: SchemaVersionError: `found` is not a version up to SCHEMA_VERSION.
    """
    text = found.decode() if isinstance(found, bytes) else str(found)
    if text in map(str, range(1, SCHEMA_VERSION + 1)):
        return
    msg = (
        f"{where} has schema version {text}, and this gfjobs knows versions up to "
        f"{SCHEMA_VERSION}; read it with the newer gfjobs that wrote it"
    )
    raise SchemaVersionError(msg)


def build_table(name: str, columns: Mapping[str, object]) -> pa.Table:
    """Build a table of the named schema, without implicit conversions.

    Args:
        name: a key of TABLES.
        columns: by column name, a list, tuple or 1-D array with one value per row, or one scalar
            for all rows. In a list, None becomes NULL; NaN stays NaN everywhere, since a NaN
            gate score is not a missing one. Columns left out are NULL. In list columns
            (`thresholds`) each row has its own list; one list for all rows is not broadcast.

    Returns: a table with the columns of the schema, in its order; one row if all are scalars.
    Raises: StorageError: unknown column, unequal lengths, or a value of another type.
    """
    schema = table_schema(name)
    unknown = [
        f"{column!r}{nearest(column, tuple(schema.names))}"
        for column in columns
        if column not in schema.names
    ]
    if unknown:
        msg = (
            f"table {name} has no column {', '.join(unknown)}; "
            f"its columns: {', '.join(schema.names)}"
        )
        raise StorageError(msg)
    lengths = {
        column: len(values)
        for column, values in columns.items()
        if isinstance(values, (list, tuple, np.ndarray, pa.Array, pa.ChunkedArray))
    }
    if len(set(lengths.values())) > 1:
        found = ", ".join(f"{column} {length}" for column, length in lengths.items())
        msg = f"the columns of one {name} table must have the same length; found {found}"
        raise StorageError(msg)
    rows = next(iter(lengths.values()), 1)
    arrays = [
        build_column(name, field, columns.get(field.name), rows, is_sequence=field.name in lengths)
        for field in schema
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def build_column(
    table: str, field: pa.Field, values: object, rows: int, *, is_sequence: bool
) -> pa.Array:
    """Build one column of `build_table`; the name of the table is for the message."""
    try:
        if values is None:
            return pa.nulls(rows, field.type)
        if isinstance(values, (pa.Array, pa.ChunkedArray)):
            array = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
        else:
            array = _array(field.type, values if is_sequence else [values])
        array = array.cast(field.type)
        return array if is_sequence else pa.repeat(array[0], rows)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as err:
        msg = f"column {field.name} of table {table} takes {field.type}: {err}"
        raise StorageError(msg) from err


def _array(wanted: pa.DataType, values: object) -> pa.Array:
    """Make an array without pyarrow's silent conversions (1.5 to 1, 1 to true)."""
    if not (pa.types.is_integer(wanted) or pa.types.is_boolean(wanted)):
        return pa.array(values, type=wanted, from_pandas=False)  # from_pandas: NaN to NULL
    array = pa.array(values, from_pandas=False)
    is_kind = pa.types.is_integer if pa.types.is_integer(wanted) else pa.types.is_boolean
    if not (is_kind(array.type) or pa.types.is_null(array.type)):
        msg = f"found {array.type}"
        raise TypeError(msg)
    return array
