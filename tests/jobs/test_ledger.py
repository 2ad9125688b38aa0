"""What has become of each cell."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
from support.driving import GRID, Run, Scripted, rows_of

import storage
from jobs.ledger import Ledger, queued_rows
from jobs.order import task_queues
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


def _with_losses(task: Task, losses: dict[tuple[str, int], list[float]]) -> Outcome:
    """A task's rows where images of a model in a round, its first ones, have such losses."""
    outcome = rows_of(task)
    (name, table), *_ = outcome.tables.items()
    given = losses.get((task.model, task.round), []) if not task.shard.number else []
    columns = {key: table[key] for key in table.column_names if key != "loss"}
    loss = (given + [0.5] * len(table))[: len(table)]
    return replace(outcome, tables={name: storage.build_table(name, columns | {"loss": loss})})


NOT_FINITE = {("dynn", 0): [math.nan], ("flat", 0): [math.inf], ("flat", 1): [math.nan, math.nan]}


def test_images_without_finite_logits_make_a_cell_invalid(run: Run) -> None:
    """It says how many, as its worst round has it; also after a resume, and counted once."""
    run.drive(Scripted(lambda task: _with_losses(task, NOT_FINITE)))
    again = Ledger(
        run.plan,
        run.store.cells,
        run.store.entries(),
        unanswered=run.store.unanswered_images(),
    )
    for rows in (run.store.cells, again.rows):
        assert {(row.kind, row.model): (row.is_valid, row.note) for row in rows} == {
            ("exits", "flat"): (False, "1 of 1100 images has logits that are not finite"),
            ("exits", "dynn"): (False, "1 of 1100 images has logits that are not finite"),
            ("latency", "flat"): (False, "2 of 1100 images have logits that are not finite"),
            ("latency", "dynn"): (False, "1 of 1100 images has logits that are not finite"),
        }
        assert {row.status for row in rows} == {"done"}


def test_a_cell_that_starts_anew_forgets_what_it_could_not_answer(run: Run) -> None:
    """What was dropped of it says nothing of what comes."""
    cells = run.plan.cells
    key = (cells[0].cell_id, 0)
    ledger = Ledger(run.plan, queued_rows(run.plan, "r"), (), unanswered={key: 3})
    ledger.restart([cells[0].cell_id])
    for task in _tasks(run, cells[0].cell_id):
        ledger.commit(task, rows_of(task))
    (row,) = (row for row in ledger.rows if row.cell_id == cells[0].cell_id)
    assert (row.is_valid, row.note) == (True, None)


def _tasks(run: Run, cell_id: str) -> list[Task]:
    (queue,) = task_queues(run.plan, "r", frozenset(), by_device=False)
    return [task for task in queue if task.cell_id == cell_id]
