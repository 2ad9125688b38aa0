"""What a results root holds at one moment, and from where each table of it is read.

A run is read from its own folder, or it is one of the history's (storage.runs.history), whose small
tables lie together. Nothing is read before it is asked for.
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
from storage.runs.layout import REGRESSIONS_FILE, is_visible, run_paths, visible_files, visible_runs
from storage.runs.listing import read_cell_rows, read_run
from storage.runs.manifests import entries_to_table, read_snapshot
from storage.runs.summaries import Inputs, is_current
from storage.sql.macros import SUMMARISED, definition
from storage.tables.parquet import read_table
from storage.tables.records import RunRow, rows_to_table
from storage.tables.schemas import SORT_KEYS, TABLES

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from storage.backends import Backend
    from storage.runs.layout import RunPaths
    from storage.runs.manifests import Snapshot


_LOG = logging.getLogger(__name__)


class Run:
    """One run, read from its folder when a part of it is asked for."""

    def __init__(self, root: Backend, run_id: str) -> None:
        self._root, self.run_id = root, run_id
        self.paths: RunPaths = run_paths(root, run_id)
        self._tables: dict[str, pa.Table | None] = {}

    @functools.cached_property
    def rows(self) -> tuple[RunRow, ...]:
        """Its row of `runs`; none if it was removed meanwhile."""
        return read_run(self._root, self.run_id)

    @functools.cached_property
    def snapshot(self) -> Snapshot:
        """What is committed."""
        return read_snapshot(self.paths)

    @functools.cached_property
    def _inputs(self) -> Inputs | None:
        try:
            return Inputs.read(self.paths)
        except FileNotFoundError:  # removed meanwhile
            return None

    @functools.cached_property
    def summary_files(self) -> dict[str, Backend] | None:
        """The files of its summary by view, if it has one that may be read for its rows."""
        summary = self.snapshot.summary
        if summary is None or self._inputs is None or not is_current(summary, self._inputs):
            return None
        return {view: self.paths.data / name for view, name in summary.files.items()}

    def table(self, name: str) -> pa.Table | None:
        """Its rows of `runs`, `cells` or `nodes`, if there are any."""
        if name == "runs":
            return rows_to_table(RunRow, self.rows)
        if name not in self._tables:
            self._tables[name] = None
            with contextlib.suppress(FileNotFoundError):
                self._tables[name] = read_table(self.paths.folder / f"{name}.parquet")
        return self._tables[name]

    def damage(self, names: Collection[str], summarised: Collection[str]) -> DamagedError | None:
        """What of it cannot be read of what a question needs; None if all can.

        Args:
            names: of the tables that are asked, where the run has a summary.
            summarised: and where it has none.
        """
        try:
            has_summary = set(names).isdisjoint(SUMMARISED) or self.summary_files
            wanted = set(names if has_summary else summarised)
            if "runs" in wanted:
                _ = self.rows
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
        """What is shown of it where not all can be read."""
        with contextlib.suppress(DamagedError):
            for run in self.rows:
                return dataclasses.replace(run, status="damaged")
        return RunRow(self.run_id, status="damaged")


@dataclass(frozen=True)
class Contents:
    """Runs of a root, each in `history` or in `runs`.

    `is_chosen` says that these runs were asked for by name, so that none may be left out; `damaged`
    are those of which nothing is shown but that they are.
    """

    root: Backend
    history: History | None
    runs: Sequence[Run]
    is_chosen: bool = False
    damaged: tuple[RunRow, ...] = ()

    def readable(self, names: Collection[str], summarised: Collection[str]) -> Contents:
        """Leave out the runs of which something cannot be read that a question needs.

        All of such a run, so that no answer has half of one.

        Args:
            names: as of `Run.damage`.
            summarised: likewise.

        Raises: DamagedError: it was asked for by name.
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
        """The runs that were removed since: of these a part may have been read, or nothing."""
        run_ids = {run.run_id for run in self.runs}
        if self.is_chosen:
            return sorted(run_id for run_id in run_ids if not is_visible(self.root, run_id))
        known = self.history.runs if self.history else ()
        return sorted(run_ids.difference(visible_runs(self.root, without=known)))

    @property
    def unsummarised(self) -> Contents:
        """The runs whose summaries are not there or not of today's queries, by themselves."""
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
        """Where runs that are not of the history have their stored rows of a summarised view."""
        return [run.summary_files[view] for run in self.runs if run.summary_files]

    @property
    def stale(self) -> Collection[str]:
        """Runs that the files of the history have rows of, and that are not its own any more."""
        return self.history.stale if self.history else ()

    def copied_file(self, name: str) -> Backend | None:
        """The history's file of a copied table or summarised view; rows of `stale` are in it."""
        history = self.history
        if history is None or not history.runs:
            return None
        is_there = name in COPIED_TABLES or (
            name in SUMMARISED and history.definition == definition()
        )
        return history.file(name) if is_there else None

    def small_table(self, name: str) -> pa.Table:
        """Rows of the runs that are not of the history, of a table that is read whole.

        Args:
            name: `runs`, `cells`, `nodes`, or `commits`, of which these are the unmerged.
        """
        if name == "commits":
            tables = [
                entries_to_table(run.run_id, run.snapshot.unmerged_entries) for run in self.runs
            ]
        else:
            tables = [table for run in self.runs if (table := run.table(name)) is not None]
            if name == "runs":
                tables.append(rows_to_table(RunRow, self.damaged))
        # Of files of older versions, which may lack columns, NULL.
        return pa.concat_tables([TABLES[name].empty_table(), *tables], promote_options="default")

    def data_files(self, table: str) -> list[Backend]:
        """The files of a table that are read where they lie, in order of run."""
        if table in ("images", "training"):
            return visible_files(self.root / table)
        if table == "regressions":
            return self._judged()
        found = {run.run_id: run.snapshot.files(table) for run in self.runs}
        if self.history:
            for run_id, sealed in self.history.runs.items():
                data = run_paths(self.root, run_id).data
                found[run_id] = [data / name for name in sealed.files.get(table, ())]
        return [file for run_id in sorted(found) for file in found[run_id]]

    def _judged(self) -> list[Backend]:
        """Where runs have what was judged of them; a run of the history may be judged later on."""
        run_ids = {run.run_id for run in self.runs}
        if self.is_chosen:  # few: asked one by one
            found = [run_paths(self.root, run_id).regressions for run_id in sorted(run_ids)]
            return [file for file in found if file.is_file()]
        run_ids.update(self.history.runs if self.history else ())
        judged = (self.root / "runs").holding(REGRESSIONS_FILE)
        return [folder / REGRESSIONS_FILE for folder in judged if folder.name in run_ids]


def read_contents(root: Backend, run_ids: Collection[str] | None) -> Contents:
    """See which runs there are; a few by name are read from their folders.

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
