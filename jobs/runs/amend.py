"""Resubmitting a grid to an existing run: what is added, kept or refused.

This module runs and writes nothing: `amend` returns the run's new plan, rows and submission.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import storage
from jobs.common.clock import now
from jobs.common.errors import UsageError
from jobs.common.yaml_document import Document
from jobs.driver.cell_states import queued_rows
from jobs.driver.looks import end_known_rounds
from jobs.plan.cell import Cell, Later, is_compared
from jobs.plan.plan import Plan
from jobs.runs.resolved_inputs import (
    ResolvedInputs,
    compare_inputs,
    describe_differences,
    find_relabelled,
    resolve_inputs,
    resolve_rows,
)
from jobs.runs.saved_submission import read_inputs, read_later

LEFT_ALONE = "the grid has it no more"
"""Note of a cell that was removed from the grid before it was done."""


@dataclass(frozen=True)
class Amended:
    """A run after its grid is resubmitted.

    Attributes:
        plan: made from the grid, with the labels that the run uses for its data sets.
        rows: rows of all cells, those of the plan first.
        submission: the facts saved for a resume.
        new: number of cells that the run did not have.
        grown: number of cells that get more rounds.
        done: number of cells of the plan that are done.
        left: number of cells of the run that the plan no longer has.
        is_judged_again: whether what ends rounds has changed, so that ended cells must say anew how
            well they are known.
    """

    plan: Plan
    rows: tuple[storage.CellRow, ...]
    submission: Mapping[str, str]
    new: int
    grown: int
    done: int
    left: int
    is_judged_again: bool

    def says(self) -> Iterator[str]:
        """Messages about new, grown and removed cells; none if there are no such cells."""
        if self.new:
            verb = "is" if self.new == 1 else "are"
            yield f"{_cells(self.new)} {verb} new, {self.done} done before"
        if self.grown:
            yield f"{_cells(self.grown)} {'gets' if self.grown == 1 else 'get'} more rounds"
        if self.left:
            verb, keep = ("is", "its") if self.left == 1 else ("are", "their")
            yield (
                f"{_cells(self.left)} of the run {verb} no longer in the grid and will not run;"
                f" {keep} rows are kept"
            )


def build_submission(document: Document, plan: Plan) -> dict[str, str]:
    """The facts of a grid saved with its run: text, base of its paths, resolved inputs."""
    return {
        "grid_path": str(document.path.absolute()),
        "base": str(plan.grid.base),
        "grid": document.text,
        "meanings": json.dumps(resolve_inputs(plan.cells)),
    }


def amend(store: storage.RunStore, document: Document, plan: Plan) -> Amended:
    """Compare a resubmitted grid with its run, and return the amended run.

    Args:
        store: the run.
        document: the grid.
        plan: made from the grid today.

    Raises:
        UsageError: the run was created from different inputs, or has more rounds.
        DamagedError: its submission is damaged.
    """
    then = _known(store)
    plan = relabel(plan, find_relabelled(then, resolve_inputs(plan.cells)))
    today = resolve_inputs(plan.cells)
    _check(store, plan, describe_differences(compare_inputs(then, today)))
    stored = {row.cell_id: row for row in store.cells}
    later = read_later(store.submission)
    asked = _asked(store, plan, later)
    _check_rounds(store, plan, asked)
    plan = end_known_rounds(replace(plan, later=later), store)
    committed = {entry.cell_id for entry in store.entries()}
    later += _added(plan, asked, committed, now())
    plan = replace(plan, later=later)
    rows = [
        replace(_welcome_back(stored.get(row.cell_id, row)), position=row.position)
        for row in queued_rows(plan, store.run.run_id)
    ]
    planned = {cell.cell_id for cell in plan.cells}
    left = [row for row in store.cells if row.cell_id not in planned]
    rows += [_left_alone(row, position) for position, row in enumerate(left, len(rows))]
    return Amended(
        plan=plan,
        rows=tuple(rows),
        submission={
            **store.submission,
            **build_submission(document, plan),
            "meanings": json.dumps(then | today),
            "later": json.dumps([[each.added_at, dict(each.rounds)] for each in later]),
        },
        new=sum(cell.cell_id not in stored for cell in plan.cells),
        grown=sum(
            cell.cell_id in stored and cell.rounds > asked[cell.cell_id] for cell in plan.cells
        ),
        done=sum(row.status == "done" for row in rows if row.cell_id in planned),
        left=len(left),
        is_judged_again=any(
            cell.cell_id in stored and not _is_until_same(stored[cell.cell_id], cell)
            for cell in plan.cells
        ),
    )


def _known(store: storage.RunStore) -> ResolvedInputs:
    known = read_inputs(store.submission)
    return resolve_rows(store.cells) if known is None else known


def relabel(plan: Plan, labels: Mapping[str, str]) -> Plan:
    """Give the data sets of a plan the labels that its run uses."""
    if not labels:
        return plan
    called = {
        data.label: replace(data, label=labels.get(data.label, data.label))
        for data in plan.grid.datasets
    }
    return replace(
        plan,
        grid=replace(plan.grid, datasets=tuple(called.values())),
        cells=tuple(replace(cell, dataset=called[cell.dataset.label]) for cell in plan.cells),
    )


def _check(store: storage.RunStore, plan: Plan, differing: str) -> None:
    """Raise UsageError if inputs have changed since the run was created."""
    if not differing and "meanings" not in store.submission:
        differing = _unrecorded(store.cells, plan.cells)
    if differing:
        raise UsageError(
            f"run {store.run.run_id} was created from different inputs:\n{differing}\nResults of"
            " both must not mix: restore the earlier inputs, or submit the grid as a new run"
            " (another --run, or none)"
        )


def _unrecorded(rows: Sequence[storage.CellRow], cells: Sequence[Cell]) -> str:
    """Describe a cell that has changed under the same names, in a run without resolved inputs."""
    planned, stored = {cell.cell_id for cell in cells}, {row.cell_id for row in rows}
    gone = {
        (row.kind, row.model, row.dataset, row.runtime, row.precision, row.threads, row.threshold)
        for row in rows
        if row.cell_id not in planned
    }
    for cell in cells:
        key = (cell.kind, cell.model.name, cell.dataset.label, *_setting(cell), cell.threshold)
        if cell.cell_id not in stored and key in gone:
            return (
                f"  {cell.kind} of {cell.model.name} on {cell.dataset.label}: preprocessing, limit,"
                " energy or protocol, which this run did not record"
            )
    return ""


def _setting(cell: Cell) -> tuple[str, str, int]:
    return cell.setting.runtime, cell.setting.precision, cell.setting.threads


def _asked(store: storage.RunStore, plan: Plan, later: Sequence[Later]) -> dict[str, int]:
    """Rounds asked for so far by cell, also by a submission that was interrupted."""
    planned = {cell.cell_id: cell for cell in plan.cells}
    asked = {row.cell_id: _asked_of(row, planned.get(row.cell_id)) for row in store.cells}
    for each in later:
        for cell_id, (_, stop) in each.rounds.items():
            asked[cell_id] = max(asked.get(cell_id, 0), stop)
    return asked


def _asked_of(row: storage.CellRow, cell: Cell | None) -> int:
    """Rounds that a cell was to get: of one whose rounds ended those it got, if more are wanted."""
    has_ended = row.status == "done" and cell is not None and not _is_until_same(row, cell)
    return (row.rounds if has_ended else row.max_rounds or row.rounds) or 0


def _is_until_same(row: storage.CellRow, cell: Cell) -> bool:
    """Whether the rounds of a cell end as they did, or neither then nor now before all are run."""
    until = cell.until
    asked = (until.pct, until.of, until.most) if until else (None, None, None)
    return asked == (row.until_pct, row.until_of, row.max_rounds)


def _check_rounds(store: storage.RunStore, plan: Plan, asked: Mapping[str, int]) -> None:
    run_id, rows = store.run.run_id, {row.cell_id: row for row in store.cells}
    for cell in plan.cells:
        row = rows.get(cell.cell_id)
        if row and row.max_rounds is not None and cell.until is None and row.rows:
            raise UsageError(
                f"the rounds of run {run_id} end when its figures are known, and the grid has no"
                " `until`: intervals that were looked at are wider than those of planned rounds;"
                " put `until` back, or submit the grid as a new run"
            )
        has_ended = cell.until is not None and row is not None and row.status == "done"
        had = (row.rounds or 0) if row and has_ended else asked.get(cell.cell_id, 0)
        if had > cell.planned_rounds:
            most = "at most " if cell.until else ""
            raise UsageError(
                f"run {run_id} has {had} rounds, and the grid asks for"
                f" {most}{cell.planned_rounds}: you can add rounds but not remove them; submit the"
                " grid as a new run"
            )


def _added(
    plan: Plan, asked: Mapping[str, int], committed: set[str], at: datetime
) -> tuple[Later, ...]:
    """The cells and rounds that are timed after the rest; none if no timed cell has begun yet."""
    timed = [cell for cell in plan.cells if is_compared(cell)]
    if not any(cell.cell_id in committed for cell in timed):
        return ()
    rounds = {
        cell.cell_id: (asked.get(cell.cell_id, 0), cell.rounds)
        for cell in timed
        if cell.rounds > asked.get(cell.cell_id, 0)
    }
    return (Later(f"{at:%Y-%m-%d %H:%M:%S}", rounds),) if rounds else ()


def _left_alone(row: storage.CellRow, position: int) -> storage.CellRow:
    if row.status in ("done", "skipped"):
        return replace(row, position=position)
    return replace(
        row,
        position=position,
        status="skipped",
        is_valid=False if row.rows else None,
        note=LEFT_ALONE,
        error=None,
    )


def _welcome_back(row: storage.CellRow) -> storage.CellRow:
    return replace(row, status="queued", note=None) if row.note == LEFT_ALONE else row


def _cells(number: int) -> str:
    return f"{number} cell{'' if number == 1 else 's'}"
