"""Cancelling a run whose driver is dead, alive in this process, or does not answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import storage
from jobs.common.errors import JobsError, RunInterruptedError
from jobs.driver.inline_executor import InlineExecutor
from jobs.plan.task import Outcome, Task
from jobs.report.terminal.status import status
from jobs.runs import target
from jobs.runs.cancel import PATIENCE_S, cancel
from jobs.runs.submit import resume, submit
from jobs.runs.target import Target
from jobs.runs.watch import progress_line, watch
from jobs.worker.run_task import run_task

INLINE = Target(is_inline=True)


def quiet(_text: str) -> None:
    """Narrate to nobody."""


def states(root: Path) -> dict[str, int]:
    """Cells by status."""
    counted = storage.query(root, "select status, count(*) n from cells group by all").to_pylist()
    return {row["status"]: row["n"] for row in counted}


def test_a_run_whose_driver_is_dead_is_marked_at_once(store: object, tmp_path: Path) -> None:
    """Its cells are cancelled, and a second time there is nothing to do."""
    root = tmp_path / "results"
    store.run.close()
    said: list[str] = []
    cancel(root, "r", said.append)
    assert said == ["run r is cancelled; its cells: 4 cancelled"]
    assert storage.find_run(root, "r").status == "cancelled"
    cancel(root, "r", said.append)
    assert said[1:] == ["run r is cancelled already: there is nothing to cancel"]
    assert "resume with: gfjobs resume r" in status(root, "r")


def test_a_driver_stops_in_mid_task_and_the_run_goes_on_later(
    small_grid: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The word comes while a task runs in this process: what was committed stays."""
    root = tmp_path / "results"
    done: list[Task] = []

    def run(task: Task, *rest: object) -> Outcome:
        if len(done) == 3:
            storage.ask_to_cancel(root, "r")
            while True:  # a task that never ends
                pass
        done.append(task)
        return run_task(task, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(target, "InlineExecutor", lambda src: InlineExecutor(src, run))
        patch.setattr("jobs.runs.interrupts.POLL_S", 0.05)
        with pytest.raises(RunInterruptedError) as caught:
            submit(small_grid, root, INLINE, quiet, "r")
    assert caught.value.is_cancelled
    assert storage.find_run(root, "r").status == "cancelled"
    assert states(root) == {"done": 2, "cancelled": 2}
    assert storage.query(root, "from commits").num_rows == 3
    assert resume(root, "r", INLINE, quiet).is_done
    assert states(root) == {"done": 4}
    said: list[str] = []
    cancel(root, "r", said.append)
    assert said == ["run r is done: there is nothing to cancel"]


def test_a_wish_that_came_too_late_stops_nothing(small_grid: Path, tmp_path: Path) -> None:
    """It was of the driver before."""
    root = tmp_path / "results"
    submit(small_grid, root, INLINE, quiet, "r")
    storage.ask_to_cancel(root, "r")
    with storage.RunStore.open(root, "r") as store:
        store.save_run(replace(store.run, status="failed"))
    assert resume(root, "r", INLINE, quiet).is_done


def test_a_driver_that_does_not_stop_is_named(store: object, tmp_path: Path) -> None:
    """With its process, after a minute; the wish stands."""
    now_s = 0.0

    def sleep(seconds: float) -> None:
        nonlocal now_s
        now_s += seconds + PATIENCE_S / 2

    with pytest.raises(JobsError, match=r"driver, process \d+ on .*, has not stopped within 60 s"):
        cancel(tmp_path / "results", "r", quiet, lambda: now_s, sleep)
    assert store.run.is_cancel_asked()


def test_watching_follows_a_run_to_its_end(store: object, tmp_path: Path) -> None:
    """By its rows, at most each five seconds and at the end; then by its log, where it has one."""
    root, opened = tmp_path / "results", store.run
    now_s = 10.0
    steps: list[Callable[[], object]] = [
        lambda: opened.save_cells([replace(c, status="done", rows=c.rows) for c in opened.cells]),
        lambda: opened.save_run(replace(opened.run, status="done")),
    ]

    def sleep(_seconds: float) -> None:
        nonlocal now_s
        now_s += 6
        steps.pop(0)()

    said: list[str] = []
    assert watch(root, "r", said.append, lambda: now_s, sleep)
    assert said[0].startswith("driver: process ")
    assert said[1:] == ["0/4 cells, 0/140 images", "4/4 cells, 0/140 images"]
    assert progress_line([]) == "0/0 cells, 0/0 images"
    log = storage.log_of(root, "r")
    log.write_text("old\nlast\n")
    steps[:] = [
        lambda: log.write_text("old\nlast\nnew\nhal"),
        lambda: opened.save_run(replace(opened.run, status="cancelled")),
    ]
    opened.save_run(replace(opened.run, status="running"))
    said.clear()
    assert not watch(root, "r", said.append, lambda: now_s, sleep)
    assert said[1:] == [f"its log: {log}", "last", "new"]
