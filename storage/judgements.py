"""What was judged of a run: one small file in the run's folder, replaced whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

from storage.checks import check_column
from storage.errors import RunNotFoundError
from storage.files import publish_table
from storage.layout import existing_root, run_paths, unwritable
from storage.rows import RegressionRow, rows_to_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from storage.places import Root


def save_regressions(root: Root, run_id: str, rows: Sequence[RegressionRow]) -> None:
    """Replace what was judged of a run, in one step. Needs no lease: the run stays as it is.

    Raises:
        RunNotFoundError: there is no such run.
        StorageError: a row is of another run, or does not fit its column.
        RootNotWritableError: the place refuses; what was written before still stands then.
    """
    place = existing_root(root)
    paths = run_paths(place, run_id)
    if not paths.run.is_file():
        raise RunNotFoundError(f"there is no run {run_id!r} under {place}; see `gfjobs runs`")
    table = rows_to_table(RegressionRow, rows)
    check_column(table, "run_id", run_id)
    try:
        publish_table(paths.regressions, table)
    except OSError as err:
        raise unwritable(place, err) from err
