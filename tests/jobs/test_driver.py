"""Lane, ledger and driver, on an executor whose answers are made up by the test."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import storage
from jobs.driver import MAX_ATTEMPTS, Driver
from jobs.errors import JobsError
from jobs.executor import SourceError, Sources
from jobs.lane import Lane
from jobs.ledger import Ledger, queued_rows
from jobs.order import task_queues
from jobs.plan import Plan
from jobs.task import Outcome, Task

GRID = """\
name: small
models: [flat.safetensors, dynn.safetensors]
datasets: [{name: digits, split: train, limit: 1100}]
thresholds: [0.5]
latency: {rounds: 2, images: 1100}
"""


def rows_of(task: Task) -> Outcome:
    """The rows of a task that went well, one image's worth of columns each."""
    images = task.shard.stop - task.shard.start
    ids = list(range(task.shard.start, task.shard.stop))
    common = {"run_id": task.run_id, "cell_id": task.cell_id}
    if task.kind == "latency":
        columns = common | {"round": task.round, "image_id": ids, "exit_block": 1}
        tables = {"records": storage.build_table("records", columns)}
    else:
        blocks = (*task.exit_blocks, 4)
        columns = common | {
            "image_id": [i for _ in blocks for i in ids],
            "exit_block": [block for block in blocks for _ in ids],
        }
        tables = {"exits": storage.build_table("exits", columns)}
    node = storage.NodeRow(run_id=task.run_id, node="n", device="cpu")
    return Outcome(tables, node, images, busy_s=0.5)


class Scripted:
    """An executor that answers as told, oldest task first, and writes down what it was given."""

    is_one_host = True

    def __init__(self, answer: Callable[[Task], Outcome] = rows_of, capacity: int = 3) -> None:
        self.answer = answer
        self._capacity = capacity
        self.tasks: deque[Task] = deque()
        self.given: list[Task] = []
        self.most = 0
        self.most_beside_timed = 0

    def capacity(self) -> int:
        """As told."""
        return self._capacity

    def submit(self, task: Task) -> None:
        """Take a task."""
        self.tasks.append(task)
        self.given.append(task)
        self.most = max(self.most, len(self.tasks))
        if any(other.is_timed for other in self.tasks):
            self.most_beside_timed = max(self.most_beside_timed, len(self.tasks))

    def wait(self) -> tuple[Task, Outcome]:
        """Answer the oldest."""
        task = self.tasks.popleft()
        return task, self.answer(task)

    def close(self) -> None:
        """Nothing to close."""


@pytest.fixture
def run(tmp_path: Path, plan_of: Callable[[str], Plan]) -> Iterator[Run]:
    """A run of GRID of which nothing has run."""
    plan = plan_of(GRID)
    row = storage.RunRow(run_id="r", name="small")
    root = tmp_path / "results"
    with storage.RunStore.create(root, row, queued_rows(plan, "r"), {}) as store:
        yield Run(root, store, plan)


class Run:
    """A run's store and plan."""

    def __init__(self, root: Path, store: storage.RunStore, plan: Plan) -> None:
        self.root, self.store, self.plan = root, store, plan

    def drive(self, executor: Scripted) -> bool:
        """Run what is missing."""
        return Driver(self.store, self.plan, executor, lambda _task, _outcome: None).run()

    def count(self, table: str) -> int:
        """Rows of a table, each key once."""
        columns = "exit_block" if table == "exits" else "round"
        keys = storage.query(self.root, f"select cell_id, image_id, {columns} from {table}")  # noqa: S608
        rows = [tuple(row.values()) for row in keys.to_pylist()]
        assert len(set(rows)) == len(rows)
        return len(rows)


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


def test_a_lane_puts_lost_tasks_first(plan_of: Callable[[str], Plan]) -> None:
    """And gives nothing out while a timed task runs."""
    (queue,) = task_queues(plan_of(GRID), "r", frozenset(), by_device=False)
    lane = Lane(queue, capacity=2)
    first, second = lane.take(lambda _: False), lane.take(lambda _: False)
    assert first is not None
    assert second is not None
    assert lane.take(lambda _: False) is None
    lane.give_back(first, again=True)
    assert lane.take(lambda _: False) == first
    exits = {first.cell_id, second.cell_id}
    lane.give_back(first)
    assert lane.take(lambda cell: cell in exits or "x" in cell) != first


def test_a_source_that_is_gone_fails_its_cells_alone(run: Run) -> None:
    """A checkpoint deleted in mid-run is named; the other cells go on."""

    class Broken(Scripted):
        def submit(self, task: Task) -> None:
            if task.model == "flat":
                raise SourceError("checkpoint flat.safetensors cannot be read: gone")
            super().submit(task)

    assert not run.drive(Broken())
    statuses = {(c.kind, c.model): c.status for c in run.store.cells}
    assert statuses["exits", "flat"] == statuses["latency", "flat"] == "failed"
    assert statuses["exits", "dynn"] == statuses["latency", "dynn"] == "done"


def test_rows_that_cannot_be_written_end_the_run(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk: what was committed stays, and the way on is named."""
    commit = run.store.commit
    done: list[object] = []

    def fail(*arguments: object) -> bool:
        if len(done) == 2:
            raise storage.StorageError("No space left on device")
        done.append(arguments)
        return commit(*arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(run.store, "commit", fail)
        with pytest.raises(JobsError, match=r"No space left .* gfjobs resume r"):
            run.drive(Scripted())
    assert len(run.store.entries()) == 2
    assert run.drive(Scripted())


def test_sources_are_what_was_planned(run: Run, tmp_path: Path) -> None:
    """A checkpoint that changed or went since then is not used."""
    (queue,) = task_queues(run.plan, "r", frozenset(), by_device=False)
    task = next(queue)
    sources = Sources.of(run.plan)
    weights = sources.weights(task)
    copy = tmp_path / "copy.safetensors"
    moved = Sources({task.checkpoint_sha256: copy}, sources.images)
    with pytest.raises(SourceError, match="cannot be read"):
        moved.weights(task)
    copy.write_bytes(weights[:-1] + b"x")
    with pytest.raises(SourceError, match="has changed"):
        moved.weights(task)
