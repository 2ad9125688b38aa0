"""The verdicts on a run: one small file in the run's folder, replaced whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from storage.errors import RunNotFoundError, SchemaVersionError, StorageError
from storage.runs.layout import existing_root, run_paths, unwritable
from storage.tables.parquet import check_columns, publish_table, read_table
from storage.tables.records import RegressionRow, rows_to_table
from storage.tables.validation import check_column

if TYPE_CHECKING:
    from collections.abc import Sequence

    from storage.backends import Backend, Root


def save_regressions(root: Root, run_id: str, rows: Sequence[RegressionRow]) -> None:
    """Replace the verdicts on a run, in one step. Needs no lease: the run itself is unchanged.

    Raises:
        RunNotFoundError: there is no such run.
        StorageError: a row is of another run, or does not fit its column.
        RootNotWritableError: the storage backend refuses; the earlier verdicts are unchanged.
    """
    backend = existing_root(root)
    paths = run_paths(backend, run_id)
    if not paths.run.is_file():
        raise RunNotFoundError(f"there is no run {run_id!r} under {backend}; see `gfjobs runs`")
    table = rows_to_table(RegressionRow, rows)
    check_column(table, "run_id", run_id)
    try:
        publish_table(paths.regressions, table)
    except OSError as err:
        raise unwritable(backend, err) from err


def find_regressions_fault(backend: Backend, run_id: str) -> str | None:
    """Return what is wrong with a file of verdicts on a run; None if nothing is.

    Raises:
        SchemaVersionError: a newer version wrote it.
        OSError: it cannot be read.
    """
    try:
        check_columns(backend, "regressions")
        table = read_table(backend)
        check_column(table, "run_id", run_id)
    except FileNotFoundError:
        return None
    except SchemaVersionError:
        raise
    except StorageError as err:
        return f"cannot be trusted ({err})"
    for name in table.column_names:
        column = table[name].combine_chunks()
        numbers = column.flatten() if pa.types.is_list(column.type) else column
        if not pa.types.is_floating(numbers.type):
            continue
        if pc.any(pc.invert(pc.is_finite(numbers))).as_py():
            return f"has a {name} that is not a finite number"
    return None
