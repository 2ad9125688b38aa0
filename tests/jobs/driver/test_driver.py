"""A driver with one machine, whose answers are made up by the test."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from support.driving import Run, Scripted, rows_of

import storage
from jobs.common.errors import JobsError
from jobs.driver.driver import Driver
from jobs.driver.executor import FullError
from jobs.driver.fault_policy import MAX_ATTEMPTS
from jobs.machine.slots import Slot
from jobs.plan.sources import SourceError
from jobs.plan.task import Outcome, Task


def test_a_run_commits_every_task_once(run: Run) -> None:
    """All rows are there, each cell is done, and a second run has nothing to do."""
    executor = Scripted()
    assert run.drive(executor)
    assert len(executor.given) == 2 * 2 + 2 * 2 * 2
    assert run.count("records") == 2 * 2 * 1100
    assert run.count("exits") == 1100 * (1 + 3)
    cells = {(c.kind, c.model): c for c in run.store.cells}
    assert cells["exits", "dynn"].rows == 3300
    assert cells["latency", "flat"].rows == 2200
    for cell in cells.values():
        assert (cell.status, cell.attempts, cell.is_valid) == ("done", 1, True)
        assert (cell.node, cell.device) == ("n", "cpu")
        assert cell.started_at is not None
        assert cell.finished_at is not None
    again = Scripted()
    assert run.drive(again)
    assert not again.given


def test_tasks_in_flight_are_bounded_and_timed_ones_alone(run: Run) -> None:
    """At most the capacity, and nothing beside a task under the clock."""
    executor = Scripted(capacity=3)
    run.drive(executor)
    assert executor.most == 3
    assert executor.most_beside_timed == 1


def test_a_lost_task_is_given_out_again(run: Run) -> None:
    """A worker that dies twice costs two tries and no rows."""
    tries: Counter[Task] = Counter()

    def answer(task: Task) -> Outcome:
        tries[task] += 1
        if task.kind == "latency" and tries[task] < MAX_ATTEMPTS:
            return Outcome({}, None, error="WorkerCrashedError", is_lost=True)
        return rows_of(task)

    assert run.drive(Scripted(answer))
    assert run.count("records") == 2 * 2 * 1100
    attempts = {(c.kind, c.model): c.attempts for c in run.store.cells}
    assert attempts["exits", "flat"] == 1
    assert attempts["latency", "flat"] == 1 + 4 * 2


def test_a_failing_cell_fails_alone(run: Run) -> None:
    """Its other tasks are dropped, what is committed stays, the other cells go on."""

    def answer(task: Task) -> Outcome:
        if (task.kind, task.model, task.round) == ("latency", "flat", 1):
            return Outcome({}, None, error="Traceback\nValueError: broken")
        return rows_of(task)

    executor = Scripted(answer)
    assert not run.drive(executor)
    cells = {(c.kind, c.model): c for c in run.store.cells}
    failed = cells["latency", "flat"]
    assert (failed.status, failed.is_valid, failed.rows) == ("failed", False, 1100)
    assert str(failed.error).endswith("ValueError: broken")
    assert cells["latency", "dynn"].status == "done"
    assert sum((t.model, t.round) == ("flat", 1) for t in executor.given) == 1
    assert run.drive(Scripted()), "a resume tries failed cells again"
    assert run.count("records") == 2 * 2 * 1100
    assert all(cell.error is None for cell in run.store.cells)


def test_a_task_lost_too_often_fails_its_cell(run: Run) -> None:
    """After the last try the cell fails with the executor's words."""
    lost = Outcome({}, None, error="NodeDiedError: gone", is_lost=True)
    executor = Scripted(lambda task: lost if task.kind == "exits" else rows_of(task), capacity=1)
    assert not run.drive(executor)
    assert Counter(task.model for task in executor.given if task.kind == "exits") == {
        "flat": MAX_ATTEMPTS,
        "dynn": MAX_ATTEMPTS,
    }
    exits = [cell for cell in run.store.cells if cell.kind == "exits"]
    assert [cell.status for cell in exits] == ["failed", "failed"]


def test_an_interrupted_run_resumes_with_what_is_missing(run: Run) -> None:
    """Ctrl-C in the middle: the rest runs later, each row once."""

    def answer(task: Task) -> Outcome:
        if (task.kind, task.model, task.round) == ("latency", "dynn", 1):
            raise KeyboardInterrupt
        return rows_of(task)

    with pytest.raises(KeyboardInterrupt):
        run.drive(Scripted(answer))
    rest = Scripted()
    assert run.drive(rest)
    assert {task.round for task in rest.given} == {1}
    assert run.count("records") == 2 * 2 * 1100


def test_a_source_that_is_gone_fails_its_cells_alone(run: Run) -> None:
    """A checkpoint deleted in mid-run is named; the other cells go on."""

    class Broken(Scripted):
        def submit(self, task: Task, slot: Slot) -> None:
            if task.model == "flat":
                raise SourceError("checkpoint flat.safetensors cannot be read: gone")
            super().submit(task, slot)

    assert not run.drive(Broken())
    statuses = {(c.kind, c.model): c.status for c in run.store.cells}
    assert statuses["exits", "flat"] == statuses["latency", "flat"] == "failed"
    assert statuses["exits", "dynn"] == statuses["latency", "dynn"] == "done"


def test_rows_that_cannot_be_written_end_the_run(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk: what was committed stays, and the way on is named."""
    commit = run.store.commit_group
    done: list[int] = []

    def fail(shards: Sequence[Any]) -> list[bool]:
        if len(done) == 2:
            raise storage.StorageError("No space left on device")
        done.append(len(shards))
        return commit(shards)

    def fail_to_save(_cells: object) -> None:
        raise storage.StorageError("Read-only file system")

    with monkeypatch.context() as patch:
        patch.setattr(run.store, "save_cells", fail_to_save)
        with pytest.raises(JobsError, match=r"Read-only file system.* gfjobs resume r"):
            Driver(run.store, run.plan, Scripted()).save()
    with monkeypatch.context() as patch:
        patch.setattr(run.store, "commit_group", fail)
        with pytest.raises(JobsError, match=r"No space left .* gfjobs resume r"):
            run.drive(Scripted())
    assert len(run.store.entries()) == sum(done)
    assert run.drive(Scripted())


def test_a_full_executor_is_given_no_more(run: Run) -> None:
    """Until something came back; a shard that never fits fails its cell with the reason."""

    class Full(Scripted):
        def submit(self, task: Task, slot: Slot) -> None:
            if task.model == "flat" or (self.tasks and len(self.given) % 2):
                raise FullError("no room for a shard's images")
            super().submit(task, slot)

    assert not run.drive(Full())
    cells = {(c.kind, c.model): c for c in run.store.cells}
    assert cells["exits", "flat"].error == "no room for a shard's images"
    assert cells["latency", "flat"].status == "failed"
    assert cells["exits", "dynn"].status == cells["latency", "dynn"].status == "done"

    class OneAtATime(Scripted):
        @property
        def is_full(self) -> bool:
            return bool(self.tasks)

    executor = OneAtATime()
    assert run.drive(executor)
    assert executor.most == 1
