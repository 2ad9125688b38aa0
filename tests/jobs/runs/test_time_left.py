"""The time left, worked out by hand from tasks that take what the test says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from jobs.plan.order import make_blocks
from jobs.plan.plan import Plan
from jobs.plan.task import Outcome, Task, TaskResources
from jobs.runs.time_left import TimeLeft, left_of_cells_s
from storage import CellRow, CellStatus

GRID = """\
models: [flat.safetensors]
datasets: [{name: digits, split: train, limit: 1000}]
runtimes: [torch, onnx]
measure: [latency]
latency: {rounds: 4, images: 500}
"""


class Run:
    """A run of 4 rounds of 500 images on each of two engines, one task after the other."""

    def __init__(self, plan: Plan) -> None:
        self.now_s = 0.0
        self.left = TimeLeft(lambda: self.now_s)
        for cell in plan.runnable:
            self.left.expect(cell, cell.images * cell.rounds)
        tasks = list(make_blocks(plan, by_device=False)[0].tasks("r", frozenset()))
        self.tasks = {
            name: [task for task in tasks if task.runtime == name] for name in ("torch", "onnx")
        }

    def end(
        self, runtime: str, busy_s: float, *, wall_s: float | None = None, **taken: float
    ) -> Task:
        """The next task of an engine ends, after a time of the wall."""
        task = self.tasks[runtime].pop(0)
        self.now_s += busy_s if wall_s is None else wall_s
        resources = TaskResources(**taken)
        self.left.end(task, Outcome({}, None, images=500, busy_s=busy_s, resources=resources))
        return task


@pytest.fixture
def run(plan_of: Callable[[str], Plan]) -> Run:
    """One that has not begun."""
    return Run(plan_of(GRID))


def test_each_engine_has_its_own_speed(run: Run) -> None:
    """The slow one is not taken for the fast one, whichever has more images left."""
    run.end("torch", 10)
    assert run.left.left_s() is None, "one task tells nothing of what comes between tasks"
    run.end("onnx", 2)
    assert run.left.left_s() == pytest.approx(3 * 10 + 3 * 2)
    run.end("onnx", 2)
    assert run.left.left_s() == pytest.approx(3 * 10 + 2 * 2)


def test_an_engine_that_has_not_begun_is_as_fast_as_the_others_of_its_kind(run: Run) -> None:
    """Two rounds of 10 s: six more."""
    run.end("torch", 10)
    run.end("torch", 10)
    assert run.left.left_s() == pytest.approx(2 * 10 + 4 * 10)


def test_building_an_engine_is_not_its_speed(run: Run) -> None:
    """A minute of it would be counted again for each round: 2:16 min fell to 9 s so."""
    run.end("torch", 65, build_s=60)
    run.end("torch", 5)
    run.end("onnx", 62, build_s=60)
    assert run.left.left_s() == pytest.approx(2 * 5 + 3 * 2)


def test_the_start_before_the_first_task_is_over(run: Run) -> None:
    """Half a minute until Ray and a worker have started does not slow the rest down."""
    run.end("torch", 10, wall_s=40)
    run.end("torch", 10)
    run.end("onnx", 10)
    assert run.left.left_s() == pytest.approx(2 * 10 + 3 * 10)


def test_tasks_side_by_side_take_less_of_the_wall(run: Run) -> None:
    """Two at a time; and one again takes its time again."""
    run.end("torch", 10)
    run.end("onnx", 10, wall_s=0)
    run.end("torch", 10)
    task = run.end("onnx", 10, wall_s=0)
    assert run.left.left_s() == pytest.approx(4 * 10 * (10 / 30))
    run.left.restart(task)
    assert run.left.left_s() == pytest.approx(5 * 10 * (10 / 30))


def test_nothing_left_has_no_time(run: Run) -> None:
    """And a skipped cell, which took none, does not count as fast."""
    for _ in range(4):
        run.end("torch", 10)
    for task in run.tasks["onnx"]:
        run.left.end(task, replace(Outcome({}, None), skipped="no such package"))
    assert run.left.left_s() is None


BEGIN = datetime(2026, 11, 30, 2, 0)  # noqa: DTZ001 - naive UTC, as in rows


def cell(
    number: int, status: CellStatus, rows: int, begin_s: float = 0.0, end_s: float | None = None
) -> CellRow:
    """A routed cell of 100 images in two rounds, on an engine of its own."""
    began = BEGIN + timedelta(seconds=begin_s) if rows else None
    ended = None if end_s is None else BEGIN + timedelta(seconds=end_s)
    return CellRow(
        "r",
        f"c{number}",
        kind="latency",
        model=f"m{number}",
        images=100,
        rounds=2,
        status=status,
        rows=rows,
        started_at=began,
        finished_at=ended,
    )


def test_the_cells_alone_tell_it_too() -> None:
    """By the speed of each; one that has not begun is as fast as the others on average."""
    rows = [cell(0, "done", 200, 0, 100), cell(1, "running", 100, 100), cell(2, "queued", 0)]
    after_300_s = BEGIN + timedelta(seconds=300)
    assert left_of_cells_s(rows, after_300_s) == pytest.approx(100 * 2 + 200 * 1)


def test_cells_at_the_same_time() -> None:
    """Two hosts do in an hour what one does in two."""
    rows = [cell(0, "running", 100), cell(1, "running", 100)]
    assert left_of_cells_s(rows, BEGIN + timedelta(seconds=100)) == pytest.approx(100)


def test_what_the_cells_do_not_tell() -> None:
    """Before anything is committed, and when nothing is left."""
    assert left_of_cells_s([], BEGIN) is None
    assert left_of_cells_s([cell(0, "running", 0)], BEGIN) is None
    assert left_of_cells_s([cell(0, "done", 200, 0, 10)], BEGIN + timedelta(seconds=20)) is None
    assert left_of_cells_s([cell(0, "running", 100)], BEGIN) is None, "the clock was set back"
    begun = [cell(0, "done", 200, 0, 10), replace(cell(1, "queued", 0), kind="exits")]
    assert left_of_cells_s(begun, BEGIN + timedelta(seconds=20)) is None, "another kind"
    aside = [cell(0, "done", 200, 0, 10), cell(1, "skipped", 0), cell(2, "cancelled", 0)]
    assert left_of_cells_s(aside, BEGIN + timedelta(seconds=20)) is None
