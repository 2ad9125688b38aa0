"""What has become of each cell."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from support.driving import GRID, Run, Scripted, rows_of

import storage
from jobs.ledger import Ledger, queued_rows
from jobs.plan import Plan
from jobs.task import Outcome, Task


def test_notes_survive_a_resume(run: Run) -> None:
    """An image that could not be decoded stays named on its cell, once."""

    def answer(task: Task) -> Outcome:
        note = "1 image not decoded: a.png" if task.model == "flat" else ""
        return replace(rows_of(task), note=note)

    run.drive(Scripted(answer))
    rows = Ledger(run.plan, run.store.cells, run.store.entries()).rows
    notes = {(row.kind, row.model): row.note for row in rows}
    assert notes["latency", "flat"] == "1 image not decoded: a.png"
    assert notes["latency", "dynn"] is None
    assert {row.status for row in rows} == {"done"}


def test_a_cell_of_nothing_but_broken_images_fails(run: Run) -> None:
    """No rows are no result."""
    empty = Outcome({}, None, images=0, note="1000 images not decoded: ...")
    assert not run.drive(Scripted(lambda task: empty if task.model == "flat" else rows_of(task)))
    failed = [cell for cell in run.store.cells if cell.model == "flat"]
    assert {cell.status for cell in failed} == {"failed"}
    assert "none of the 1100 images could be evaluated" in str(failed[0].error)


@pytest.mark.parametrize("rounds", [1, 2, 3])
def test_a_cell_is_valid_once_all_its_rounds_are_done(
    rounds: int, plan_of: Callable[[str], Plan]
) -> None:
    """Also the one round that was asked for; a part is not."""
    plan = plan_of(GRID.replace("rounds: 2", f"rounds: {rounds}"))
    entries = [
        storage.CommitEntry(cell_id=key[0], round=key[1], shard=key[2], rows=images)
        for cell in plan.cells
        for key, images in cell.task_keys()
    ]
    rows = Ledger(plan, queued_rows(plan, "r"), entries).rows
    assert {row.is_valid for row in rows} == {True}
    part = Ledger(plan, queued_rows(plan, "r"), entries[:-1]).rows
    assert part[-1].status == "queued"
    assert part[-1].is_valid is None
