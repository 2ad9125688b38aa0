"""A driver whose machines come, go and fail, as the test says."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.driving import GRID, Run, Scripted, rows_of

import storage
from jobs.driver.cell_states import queued_rows
from jobs.driver.driver import Driver
from jobs.driver.events import RunEvents
from jobs.driver.fault_policy import MAX_ATTEMPTS
from jobs.machine.slots import Host, Slot
from jobs.plan.plan import Plan
from jobs.plan.task import Outcome, Task


class Cluster(Scripted):
    """Some boards; which are there is told by the test, task by task."""

    is_one_host = False

    def __init__(self, boards: Callable[[int], list[str]], device: str = "cpu") -> None:
        super().__init__()
        self.boards, self.device = boards, device
        self.slots: dict[Task, Slot] = {}
        self.looks = 0
        self.fault: Callable[[Task, str], str] = lambda _task, _board: ""

    def hosts(self) -> list[Host]:
        """As told, by the number of tasks that were answered and looks that were vain."""
        return [Host(n, 2, {self.device: 1}, is_here=False) for n in self.boards(self.looks)]

    def submit(self, task: Task, slot: Slot) -> None:
        """Take a task for a board."""
        super().submit(task, slot)
        self.slots[task] = slot

    def wait(self, timeout_s: float | None = None) -> tuple[Task, Outcome] | None:
        """Answer the oldest from its board, or from none where that has gone."""
        assert timeout_s is not None
        self.looks += 1
        if not self.tasks:
            return None
        task = self.tasks.popleft()
        board = self.slots[task].host
        if board not in self.boards(self.looks):
            return task, Outcome({}, None, error="NodeDiedError", is_lost=True)
        if error := self.fault(task, board):
            return task, Outcome({}, None, error=f"Traceback\nRuntimeError: {error}")
        outcome = rows_of(task)
        node = storage.NodeRow(run_id="r", node=board, device=self.device)
        tables = {
            name: table.set_column(
                table.schema.get_field_index("node"),
                "node",
                [[board] * table.num_rows],
            ).cast(table.schema)
            for name, table in outcome.tables.items()
        }
        return task, replace(outcome, node=node, tables=tables)


def boards_of(fault: Callable[[Task, str], str]) -> Cluster:
    """Three boards, of which tasks may fail."""
    executor = Cluster(lambda _looks: ["bad", "good", "other"])
    executor.fault = fault
    return executor


class Notes(RunEvents):
    """What a driver told, and how often tasks were to be done again."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.again = 0

    def note(self, text: str) -> None:
        """Keep it."""
        self.told.append(text)

    def restart(self, tasks: Sequence[Task]) -> None:
        """Count them."""
        self.again += len(tasks)


def test_timed_cells_start_anew_where_their_machine_is_gone(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What they had is dropped, and no cell has rows of two machines."""
    monkeypatch.setattr("jobs.driver.fault_policy.GRACE_S", 0.0)
    executor = Cluster(lambda looks: ["a", "b"] if looks < 9 else ["b"])
    notes = Notes()
    driver = Driver(run.store, run.plan, executor, notes, wait_s=60)
    assert driver.run()
    assert "began on node a, which is gone" in notes.told[0]
    assert "restart on another node" in notes.told[-1]
    assert notes.again > 0
    assert run.count("records") == 2 * 2 * 1100
    assert run.count("exits") == 1100 * (1 + 3)
    nodes = storage.query(run.root, "select distinct node from records").to_pylist()
    assert nodes == [{"node": "b"}]
    timed = [cell for cell in run.store.cells if cell.kind == "latency"]
    assert {(cell.status, cell.node, cell.rows) for cell in timed} == {("done", "b", 2200)}


def test_a_device_that_nobody_has_fails_its_cells_alone(
    plan_of: Callable[[str], Plan], tmp_path: Path
) -> None:
    """With a notice at once, and the reason on each cell."""
    plan = plan_of(GRID + "devices: [cpu, jetson]\n")
    row = storage.RunRow(run_id="r", name="small")
    with storage.RunStore.create(tmp_path / "two", row, queued_rows(plan, "r"), {}) as store:
        notes = Notes()
        executor = Cluster(lambda _looks: ["a"])
        driver = Driver(store, plan, executor, notes, wait_s=0)
        assert not driver.run()
        assert {(c.status, c.device) for c in store.cells} == {
            ("done", "cpu"),
            ("failed", "jetson"),
        }
        failed = [cell for cell in store.cells if cell.status == "failed"]
        (error,) = {cell.error for cell in failed}
        assert error == (
            "2 cells of device jetson: no node has it; registered now: cpu; nothing changed in 0 s"
        )
        assert len(notes.told) == 2


def test_a_driver_on_a_timed_host_neither_writes_nor_draws(run: Run) -> None:
    """What comes back from others meanwhile waits until the clock has stopped."""

    class Here(Cluster):
        def hosts(self) -> list[Host]:
            return [
                Host("here", 1, {"cpu": 1}),
                Host("there", 1, {"cpu": 1}, is_here=False),
            ]

        def wait(self, timeout_s: float | None = None) -> tuple[Task, Outcome] | None:
            # The other machine is always the faster one.
            self.tasks = deque(sorted(self.tasks, key=lambda t: self.slots[t].host == "here"))
            return super().wait(timeout_s)

    executor = Here(lambda _looks: ["here", "there"])
    commit = run.store.commit_group
    groups: list[list[bool]] = []

    def checked(*arguments: Any) -> list[bool]:
        flying = [task for task in executor.tasks if executor.slots[task].host == "here"]
        assert not any(task.is_timed for task in flying)
        groups.append(commit(*arguments))
        return groups[-1]

    run.store.commit_group = checked
    assert Driver(run.store, run.plan, executor).run()
    assert len(groups) > 1
    assert all(all(group) for group in groups)
    assert run.count("records") == 2 * 2 * 1100


def test_machines_elsewhere_do_not_wait_for_the_disk(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each has its next task before the one that ended is committed, and groups are committed."""
    monkeypatch.setattr("jobs.driver.commit_pace.MAX_LINGER_S", 60.0)
    executor = boards_of(lambda *_: "")
    commit = run.store.commit_group
    flying: list[int] = []
    sizes: list[int] = []

    def slow(shards: Any) -> list[bool]:
        flying.append(len(executor.tasks))
        sizes.append(len(shards))
        time.sleep(0.01)
        return commit(shards)

    run.store.commit_group = slow
    assert Driver(run.store, run.plan, executor).run()
    assert run.count("records") == 2 * 2 * 1100
    assert flying[0]
    assert len(sizes) < sum(sizes)


def test_a_node_that_fails_every_timed_task_loses_them(run: Run) -> None:
    """They start anew elsewhere, no cell fails, and the node's row says why."""
    tried: list[str] = []

    def fault(task: Task, board: str) -> str:
        if task.is_timed:
            tried.append(board)
        return "no kernel image" if task.is_timed and board == tried[0] else ""

    executor = boards_of(fault)
    notes = Notes()
    assert Driver(run.store, run.plan, executor, notes).run()
    assert run.count("exits") == 1100 * (1 + 3)
    assert run.count("records") == 2 * 2 * 1100
    (told,) = notes.told
    assert told == (
        f"node {tried[0]} failed all of 2 cells in a row: the timed cells of digits restart on"
        " another node (RuntimeError: no kernel image)"
    )
    (bad,) = [node for node in run.store.nodes if node.node == tried[0]]
    assert str(bad.note).startswith("set aside for timed cells of digits: RuntimeError")
    timed = [cell for cell in run.store.cells if cell.kind == "latency"]
    assert {cell.node for cell in timed} == {tried[-1]}
    assert tried[-1] != tried[0]


def test_a_node_that_lost_some_timed_cells_goes_on_saying_so(
    plan_of: Callable[[str], Plan], tmp_path: Path
) -> None:
    """Also once it has done others: its row says what it was set aside for."""
    sets = ", ".join(f"{{name: digits, limit: {limit}}}" for limit in (10, 20, 30, 40))
    plan = plan_of(GRID.replace("{name: digits, split: train, limit: 1100}", sets))
    first: list[tuple[str, str]] = []

    def fault(task: Task, board: str) -> str:
        if task.is_timed:
            first.append((task.dataset, board))
            return "no kernel image" if first[0] == (task.dataset, board) else ""
        return ""

    row = storage.RunRow(run_id="r", name="sets")
    with storage.RunStore.create(tmp_path / "s", row, queued_rows(plan, "r"), {}) as store:
        assert Driver(store, plan, boards_of(fault)).run()
        notes = {node.node: node.note for node in store.nodes}
        cells = [cell for cell in store.cells if cell.kind == "latency"]
    dataset, bad = first[0]
    assert bad in {cell.node for cell in cells if cell.dataset != dataset}, "it did others after"
    assert str(notes[bad]).startswith(f"set aside for timed cells of {dataset}: ")


def test_after_three_convictions_nothing_more_goes_there(
    plan_of: Callable[[str], Plan], tmp_path: Path
) -> None:
    """A queue of many tasks: the bad board gets a handful, then none."""
    plan = plan_of(
        "name: many\nmodels: [flat.safetensors, dynn.safetensors, distil.safetensors]\n"
        "datasets: [{name: digits, split: train}, {name: digits}]\nmeasure: [accuracy]\n"
    )
    executor = boards_of(lambda _task, board: "broken" if board == "bad" else "")
    given: Counter[str] = Counter()
    submit = executor.submit

    def counted(task: Task, slot: Slot) -> None:
        given[slot.host] += 1
        submit(task, slot)

    executor.submit = counted
    row = storage.RunRow(run_id="r", name="many")
    notes = Notes()
    with storage.RunStore.create(tmp_path / "m", row, queued_rows(plan, "r"), {}) as store:
        assert Driver(store, plan, executor, notes).run()
        assert {cell.status for cell in store.cells} == {"done"}
    assert 3 <= given["bad"] <= 4
    assert "node bad is set aside: other nodes completed 3 tasks that it failed" in notes.told[0]


def test_a_broken_model_is_not_its_nodes_fault(run: Run) -> None:
    """It fails on two boards, its cells fail with the error, and no board is set aside."""
    executor = boards_of(lambda task, _board: "bad shapes" if task.model == "flat" else "")
    notes = Notes()
    assert not Driver(run.store, run.plan, executor, notes).run()
    cells = {(c.kind, c.model): c for c in run.store.cells}
    for kind in ("exits", "latency"):
        assert cells[kind, "flat"].status == "failed"
        assert str(cells[kind, "flat"].error).endswith("bad shapes")
        assert cells[kind, "dynn"].status == "done"
    assert notes.told == []
    assert not any((node.note or "").startswith("set aside") for node in run.store.nodes)
    assert run.count("records") == 2 * 1100
    assert run.count("exits") == 1100 * 3


def test_a_broken_model_of_many_shards_holds_no_node(
    plan_of: Callable[[str], Plan], tmp_path: Path
) -> None:
    """All boards go on with the other model, also the one that failed most of its shards."""
    plan = plan_of(
        "name: many\nmodels: [flat.safetensors, dynn.safetensors]\n"
        "datasets: [{name: digits, split: train}]\nmeasure: [accuracy]\n"
    )
    executor = boards_of(lambda task, _board: "bad shapes" if task.model == "flat" else "")
    row = storage.RunRow(run_id="r", name="many")
    with storage.RunStore.create(tmp_path / "m", row, queued_rows(plan, "r"), {}) as store:
        driver = Driver(store, plan, executor)
        assert not driver.run()
        assert driver._policy._attribution._open == {}, (
            "nothing of a cell that failed is held against a board"
        )
        statuses = {cell.model: cell.status for cell in store.cells}
    assert statuses == {"flat": "failed", "dynn": "done"}


def test_one_node_alone_is_never_set_aside(run: Run) -> None:
    """Cells fail with what it says."""
    executor = Cluster(lambda _looks: ["only"])
    executor.fault = lambda _task, _board: "broken"
    assert not Driver(run.store, run.plan, executor).run()
    assert {cell.status for cell in run.store.cells} == {"failed"}
    assert all(str(cell.error).endswith("broken") for cell in run.store.cells)


def test_a_cluster_on_which_everything_fails_comes_to_an_end(run: Run) -> None:
    """Three boards, no task done: no deadlock between boards that wait for each other."""
    assert not Driver(run.store, run.plan, boards_of(lambda _task, _board: "broken")).run()
    assert {cell.status for cell in run.store.cells} == {"failed"}


def test_a_timed_node_that_breaks_midway_loses_its_cells(run: Run) -> None:
    """From the fifth timed task on it fails; what it had is done anew elsewhere, of one node."""
    timed: Counter[str] = Counter()

    def fault(task: Task, board: str) -> str:
        timed[board] += task.is_timed
        is_first = board == next(iter(+timed), None)
        return "fell off the bus" if task.is_timed and is_first and timed[board] > 4 else ""

    executor = boards_of(fault)
    is_done = Driver(run.store, run.plan, executor).run()
    mixed = storage.query(
        run.root, "select cell_id from records group by cell_id having count(distinct node) > 1"
    )
    assert mixed.num_rows == 0
    # Two cells alone are too few to tell a broken node from two broken models: a resume does them.
    assert not is_done
    assert Driver(run.store, run.plan, Cluster(lambda _l: ["good"])).run()


def test_a_task_lost_on_both_boards_is_tried_a_third_time(run: Run) -> None:
    """Not waited for for ever: with nowhere else to go it goes to either."""
    tries: Counter[tuple[str, int, int]] = Counter()

    class Flaky(Cluster):
        def wait(self, timeout_s: float | None = None) -> tuple[Task, Outcome] | None:
            if self.tasks and self.tasks[0].kind == "exits":
                key = self.tasks[0].key
                tries[key] += 1
                if tries[key] < MAX_ATTEMPTS:
                    return self.tasks.popleft(), Outcome({}, None, error="crash", is_lost=True)
            return super().wait(timeout_s)

    executor = Flaky(lambda _looks: ["a", "b"])
    assert Driver(run.store, run.plan, executor).run()
    assert run.count("exits") == 1100 * (1 + 3)


def test_what_others_cannot_do_is_not_held_against_a_board(
    plan_of: Callable[[str], Plan], tmp_path: Path
) -> None:
    """It failed four tasks that others skipped: it is open no more why, and it gets work again."""
    plan = plan_of(
        "name: many\nmodels: [flat.safetensors, distil.safetensors, dynn.safetensors]\n"
        "datasets: [{name: digits, split: train}]\nmeasure: [accuracy]\n"
    )

    class Skipping(Cluster):
        def wait(self, timeout_s: float | None = None) -> tuple[Task, Outcome] | None:
            task, outcome = super().wait(timeout_s) or (None, None)
            if task is None or outcome is None:
                return None
            if not outcome.error and task.model in {"flat", "distil"}:
                return task, Outcome({}, None, skipped="no such engine here")
            return task, outcome

    executor = Skipping(lambda _looks: ["bad", "good"])
    executor.fault = lambda task, board: "broken" if board == "bad" and task.model != "dynn" else ""
    row = storage.RunRow(run_id="r", name="many")
    with storage.RunStore.create(tmp_path / "m", row, queued_rows(plan, "r"), {}) as store:
        driver = Driver(store, plan, executor)
        assert driver.run()
        assert {c.model: c.status for c in store.cells} == {
            "flat": "skipped",
            "distil": "skipped",
            "dynn": "done",
        }
    assert driver._policy._attribution._open == {}
