"""The contents of a results root at one moment, and the files that each table is read from.

A run is read from its own folder or from the history (storage.runs.history), which keeps the small
tables of its runs together. Everything is read on first use.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from storage.errors import DamagedError
from storage.runs.history import COPIED_TABLES, History
from storage.runs.layout import REGRESSIONS_FILE, files_by_id, is_visible, run_paths, visible_runs
from storage.runs.listing import read_cell_rows, read_own_table, read_run_table
from storage.runs.manifests import entries_to_table, read_snapshot
from storage.runs.summaries import Inputs, is_current
from storage.sql.macros import SUMMARISED, definition
from storage.tables.records import RunRow, rows_to_table, table_to_rows
from storage.tables.schemas import SORT_KEYS, join_tables

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from storage.backends import Backend
    from storage.runs.layout import RunPaths
    from storage.runs.manifests import Snapshot


_LOG = logging.getLogger(__name__)


class Run:
    """One run; each part is read from its folder on first use."""

    def __init__(self, root: Backend, run_id: str) -> None:
        self._root, self.run_id = root, run_id
        self.paths: RunPaths = run_paths(root, run_id)
        self._tables: dict[str, pa.Table | None] = {}

    @functools.cached_property
    def _row_table(self) -> pa.Table:
        return read_run_table(self._root, self.run_id)

    @functools.cached_property
    def rows(self) -> tuple[RunRow, ...]:
        """Its row of `runs`; empty if the run was removed meanwhile."""
        return table_to_rows(RunRow, self._row_table)

    @functools.cached_property
    def snapshot(self) -> Snapshot:
        """Its live manifests."""
        return read_snapshot(self.paths)

    @functools.cached_property
    def _inputs(self) -> Inputs | None:
        try:
            return Inputs.read(self.paths)
        except FileNotFoundError:  # removed meanwhile
            return None

    @functools.cached_property
    def summary_files(self) -> dict[str, Backend] | None:
        """The files of its summary by view; None if it has no current summary."""
        summary = self.snapshot.summary
        if summary is None or self._inputs is None or not is_current(summary, self._inputs):
            return None
        return {view: self.paths.data / name for view, name in summary.files.items()}

    def table(self, name: str) -> pa.Table | None:
        """Return its rows of `runs`, `cells` or `nodes` as seen; None if there is no such file."""
        if name == "runs":
            return self._row_table
        if name not in self._tables:
            self._tables[name] = None
            with contextlib.suppress(FileNotFoundError):
                file = self.paths.folder / f"{name}.parquet"
                table = read_own_table(self.paths, file)
                self._tables[name] = self._requeued(table) if name == "cells" else table
        return self._tables[name]

    def _requeued(self, cells: pa.Table) -> pa.Table:
        """Show running cells as queued, if no driver runs them: a killed one left them so."""
        statuses = cells["status"].to_pylist()
        if "running" not in statuses or any(run.status == "running" for run in self.rows):
            return cells
        seen = ["queued" if status == "running" else status for status in statuses]
        place = cells.schema.get_field_index("status")
        return cells.set_column(place, cells.schema.field(place), pa.array(seen, pa.string()))

    def damage(self, names: Collection[str], summarised: Collection[str]) -> DamagedError | None:
        """Return the error of a table that a query needs and that is damaged; None if none is.

        Every query needs the run's row: it says whose rows these are.

        Args:
            names: the tables that the query needs if the run has a summary.
            summarised: those that it needs if the run has none.
        """
        try:
            _ = self.rows
            has_summary = set(names).isdisjoint(SUMMARISED) or self.summary_files
            wanted = set(names if has_summary else summarised)
            for name in wanted.intersection(("cells", "nodes")):
                if self.table(name) is None and name == "cells":
                    read_cell_rows(self.paths)
            if not wanted.isdisjoint(SORT_KEYS):
                _ = self.snapshot
        except DamagedError as err:
            return err
        except FileNotFoundError:  # removed meanwhile
            return None
        return None

    def named_damaged(self) -> RunRow:
        """Return the row to show for a damaged run."""
        with contextlib.suppress(DamagedError):
            for run in self.rows:
                return dataclasses.replace(run, status="damaged")
        return RunRow(self.run_id, status="damaged")


@dataclass(frozen=True)
class Contents:
    """Runs of a root, each in `history` or in `runs`.

    `is_chosen` says that these runs were requested by name, so that none may be left out. For the
    `damaged` runs, only their row in `runs` is shown.
    """

    root: Backend
    history: History | None
    runs: Sequence[Run]
    is_chosen: bool = False
    damaged: tuple[RunRow, ...] = ()

    def readable(self, names: Collection[str], summarised: Collection[str]) -> Contents:
        """Leave out runs with a damaged table that a query needs.

        Such a run is left out whole, so that no result has half a run.

        Args:
            names: as for `Run.damage`.
            summarised: likewise.

        Raises: DamagedError: such a run was requested by name.
        """
        whole, damaged = [], []
        for run in self.runs:
            damage = run.damage(names, summarised)
            if damage is None:
                whole.append(run)
            elif self.is_chosen:
                raise DamagedError(f"run {run.run_id} cannot be read: {damage}") from damage
            else:
                damaged.append(run.named_damaged())
                _LOG.warning("run %s is left out: %s", run.run_id, damage)
        return dataclasses.replace(self, runs=whole, damaged=tuple(damaged))

    def gone(self) -> list[str]:
        """List the runs that were removed since; they may have been read in part, or not at all."""
        run_ids = {run.run_id for run in self.runs}
        if self.is_chosen:
            return sorted(run_id for run_id in run_ids if not is_visible(self.root, run_id))
        known = self.history.runs if self.history else ()
        return sorted(run_ids.difference(visible_runs(self.root, without=known)))

    @property
    def unsummarised(self) -> Contents:
        """Only the runs whose summaries are missing or not made by today's queries."""
        history = self.history
        if history and history.definition == definition():
            history = None
        others = [run for run in self.runs if not run.summary_files]
        return dataclasses.replace(self, history=history, runs=others)

    @property
    def is_empty(self) -> bool:
        """Whether there is no run at all."""
        return not self.runs and not (self.history and self.history.runs)

    def summary_files(self, view: str) -> list[Backend]:
        """List the files with stored rows of a summarised view, for runs outside the history."""
        return [run.summary_files[view] for run in self.runs if run.summary_files]

    @property
    def stale(self) -> Collection[str]:
        """Runs with rows in the files of the history that no longer count there."""
        return self.history.stale if self.history else ()

    def copied_file(self, name: str) -> Backend | None:
        """Return the history's file of a table or view, with rows of `stale` runs; None if none."""
        history = self.history
        if history is None or not history.runs:
            return None
        is_there = name in COPIED_TABLES or (
            name in SUMMARISED and history.definition == definition()
        )
        return history.file(name) if is_there else None

    def small_table(self, name: str) -> pa.Table:
        """Return the rows of a table that is read whole, for the runs outside the history.

        Args:
            name: `runs`, `cells`, `nodes`, or `commits` (then only the unmerged ones).
        """
        if name == "commits":
            tables = [
                entries_to_table(run.run_id, run.snapshot.unmerged_entries) for run in self.runs
            ]
        else:
            tables = [table for run in self.runs if (table := run.table(name)) is not None]
            if name == "runs" and self.damaged:
                tables.append(rows_to_table(RunRow, self.damaged))
        return join_tables(name, tables)

    def data_files(self, table: str) -> list[tuple[str, Backend]]:
        """List the files of a table that are read in place, in order of what they are of.

        Each comes with the run, data set or training of all its rows.
        """
        if table in ("images", "training"):
            return list(files_by_id(self.root / table).items())
        if table == "regressions":
            return self._judged()
        found = {run.run_id: run.snapshot.files(table) for run in self.runs}
        if self.history:
            for run_id, sealed in self.history.runs.items():
                data = run_paths(self.root, run_id).data
                found[run_id] = [data / name for name in sealed.files.get(table, ())]
        return [(run_id, file) for run_id in sorted(found) for file in found[run_id]]

    def _judged(self) -> list[tuple[str, Backend]]:
        """List the runs' files of verdicts; a run of the history may still be judged later."""
        run_ids = {run.run_id for run in self.runs}
        if self.is_chosen:  # few runs: check each
            found = [(each, run_paths(self.root, each).regressions) for each in sorted(run_ids)]
            return [(run_id, file) for run_id, file in found if file.is_file()]
        run_ids.update(self.history.runs if self.history else ())
        judged = (self.root / "runs").holding(REGRESSIONS_FILE)
        return [(each.name, each / REGRESSIONS_FILE) for each in judged if each.name in run_ids]


def read_contents(root: Backend, run_ids: Collection[str] | None) -> Contents:
    """List the runs of a root; runs requested by name are read from their folders.

    Raises:
        StorageError: the history is damaged.
        SchemaVersionError: a newer version wrote it.
    """
    if run_ids is not None:
        shown = [run_id for run_id in sorted(set(run_ids)) if is_visible(root, run_id)]
        return Contents(root, None, [Run(root, run_id) for run_id in shown], is_chosen=True)
    history = History.read(root)
    known = history.runs if history else {}
    others = visible_runs(root, without=known)
    return Contents(root, history, [Run(root, run_id) for run_id in others])
