"""What a fault costs: another try, a cell, a block's rows or a host; hosts and clock are fakes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from support.driving import rows_of

from jobs.driver.cell_states import CellStates, queued_rows
from jobs.driver.fault_policy import (
    GRACE_S,
    MAX_ATTEMPTS,
    Action,
    EndedTask,
    FailCell,
    FaultPolicy,
    RestartBlock,
    Retry,
    SetAside,
    Tell,
)
from jobs.driver.placement import Placement
from jobs.machine.slots import Host
from jobs.plan.order import blocks
from jobs.plan.plan import Plan
from jobs.plan.task import Outcome, Task

GRID = """\
models: [flat.safetensors, distil.safetensors, dynn.safetensors]
datasets: [{name: digits, split: train, limit: 100}]
thresholds: [0.5]
latency: {rounds: 2, images: 100}
"""
BROKEN = Outcome({}, None, error="Traceback\nRuntimeError: broken")
LOST = Outcome({}, None, error="WorkerCrashedError", is_lost=True)
WAIT_S = 600.0


class Bench:
    """A policy over a small plan; hosts take a task at a time, and fail it as the test says."""

    def __init__(self, plan: Plan, *hosts: str) -> None:
        self.now_s = 0.0
        self.blocks = blocks(plan, by_device=True)
        self.placement = Placement(
            [(block, block.tasks("r", ())) for block in self.blocks], clock=lambda: self.now_s
        )
        self.cells = CellStates(plan, queued_rows(plan, "r"), ())
        self.policy = FaultPolicy(self.blocks, self.placement, self.cells, WAIT_S)
        self.join(*hosts)

    def join(self, *hosts: str) -> None:
        """These hosts are there from now on, and no others."""
        self.placement.update_hosts([Host(name, 1, {"cpu": 1}) for name in hosts])

    def take(self) -> tuple[Task, str]:
        """The next task, and its host."""
        found = self.placement.take(self.policy.is_over, self.policy.held_hosts)
        assert found is not None
        return found[0], found[1].host

    def end(self, task: Task, outcome: Outcome) -> list[Action]:
        """A task ends; what is to be done, which is done to the cells."""
        ended = self.policy.end(task, outcome)
        self.placement.give_back(task, again=ended.is_retried)
        if not outcome.error and not outcome.skipped:
            self.cells.commit(task, outcome)
        return self.decide([ended], is_looking=False)

    def decide(self, ended: list[EndedTask], *, is_looking: bool = True) -> list[Action]:
        """What is to be done; cells fail as told."""
        actions = []
        for action in self.policy.decide(ended, is_looking=is_looking):
            actions.append(action)
            if isinstance(action, FailCell):
                self.cells.fail(action.cell_id, action.error)
        return actions

    def finish_untimed(self) -> None:
        """All passes without a clock go well."""
        for cell in self.blocks[0].cells:
            for _ in cell.shards:
                task, _ = self.take()
                assert self.end(task, rows_of(task)) == []


@pytest.fixture
def bench_of(plan_of: Callable[[str], Plan]) -> Callable[..., Bench]:
    """A bench with some hosts."""
    return lambda *hosts: Bench(plan_of(GRID + "devices: [cpu]\n"), *hosts)


def kinds(actions: list[Action]) -> list[type]:
    """What kinds of action these are."""
    return [type(action) for action in actions]


def test_a_lost_task_has_three_tries(bench_of: Callable[..., Bench]) -> None:
    """One that was lost before it began was no try; the third fails the cell."""
    bench = bench_of("a")
    untried = Outcome({}, None, error="OutOfMemoryError", is_lost=True, is_untried=True)
    for outcome in (LOST, untried, untried, LOST):
        task, _ = bench.take()
        assert kinds(bench.end(task, outcome)) == [Retry]
    assert MAX_ATTEMPTS == 3
    again, _ = bench.take()
    assert bench.end(again, LOST) == [FailCell(task.cell_id, "WorkerCrashedError", task, LOST)]
    other, _ = bench.take()
    assert other.cell_id != task.cell_id


def test_a_task_that_fails_is_tried_on_another_host(bench_of: Callable[..., Bench]) -> None:
    """Once; with one host alone its cell fails at once."""
    bench = bench_of("a", "b")
    task, host = bench.take()
    assert kinds(bench.end(task, BROKEN)) == [Retry]
    bench.join(*{"a", "b"} - {host})
    again, _ = bench.take()
    assert again == task
    assert kinds(bench.end(task, BROKEN)) == [FailCell]
    alone = bench_of("a")
    task, _ = alone.take()
    assert kinds(alone.end(task, BROKEN)) == [FailCell]


def test_a_timed_cell_is_held_back_until_its_host_does_another(
    bench_of: Callable[..., Bench],
) -> None:
    """That its host can do one shows that the cell is broken."""
    bench = bench_of("a", "b")
    bench.finish_untimed()
    task, host = bench.take()
    (action,) = bench.end(task, BROKEN)
    assert isinstance(action, Retry)
    assert not action.ended.is_retried, "it waits for the cause, not for a host"
    assert bench.policy.is_over(task.cell_id)
    assert not bench.cells.is_over(task.cell_id)
    other, same = bench.take()
    assert (same, other.cell_id == task.cell_id) == (host, False)
    assert bench.end(other, rows_of(other)) == [FailCell(task.cell_id, BROKEN.error, task, BROKEN)]


def test_a_host_that_fails_every_timed_cell_loses_the_block(bench_of: Callable[..., Bench]) -> None:
    """It starts again on another; with no other host the cells fail."""
    bench = bench_of("a", "b")
    bench.finish_untimed()
    for _ in range(2):
        task, host = bench.take()
        assert kinds(bench.end(task, BROKEN)) == [Retry]
    task, host = bench.take()
    retry, told, restart = bench.end(task, BROKEN)
    assert isinstance(retry, Retry)
    text = "RuntimeError: broken"
    assert told == Tell(
        f"node {host} failed all of 3 cells in a row: the timed cells of"
        f" {task.dataset} start anew on another ({text})",
        host,
        f"set aside for timed cells of {task.dataset}: {text}",
    )
    assert restart == RestartBlock(bench.blocks[1], host)
    assert not bench.policy.is_over(task.cell_id)
    alone = bench_of("a")
    alone.finish_untimed()
    for _ in range(3):
        task, _ = alone.take()
        assert kinds(alone.end(task, BROKEN)) == [FailCell]


def test_a_host_that_has_rows_of_the_block_keeps_it(bench_of: Callable[..., Bench]) -> None:
    """Two cells that fail there are broken: their rows of before are worth more than a guess."""
    bench = bench_of("a", "b")
    bench.finish_untimed()
    task, _ = bench.take()
    bench.end(task, rows_of(task))
    failed = []
    actions: list[Action] = []
    while not bench.placement.is_done(bench.policy.is_over):
        task, _ = bench.take()
        failed.append(task.cell_id)
        actions += bench.end(task, BROKEN)
        if len(failed) == 2:
            break
    assert kinds(actions) == [Retry, Retry]
    task, _ = bench.take()
    assert kinds(bench.end(task, rows_of(task))) == [FailCell, FailCell]


def test_after_three_tasks_that_others_did_a_host_is_set_aside(
    bench_of: Callable[..., Bench],
) -> None:
    """With the error of the last."""
    bench = bench_of("bad", "good")
    for _ in range(3):
        task, host = bench.take()
        assert host == "bad"
        assert kinds(bench.end(task, BROKEN)) == [Retry]
    assert bench.policy.held_hosts == {"bad"}
    bench.join("good")
    for _ in range(2):
        task, _ = bench.take()
        assert bench.end(task, rows_of(task)) == []
    task, _ = bench.take()
    note = "set aside: others did 3 tasks that it failed (RuntimeError: broken)"
    assert bench.end(task, rows_of(task)) == [
        SetAside("bad"),
        Tell(f"node bad is {note}; its work goes to the others", "bad", note),
    ]


@pytest.mark.parametrize("state", ["is_gone", "is_corrupted"])
def test_a_loss_on_the_way_says_nothing_of_the_host(
    state: str, bench_of: Callable[..., Bench]
) -> None:
    """Three tasks were lost with their node or arrived damaged: it is not held."""
    bench = bench_of("a", "b")
    for _ in range(3):
        task, _ = bench.take()
        bench.end(task, Outcome({}, None, error="lost", is_lost=True, **{state: True}))
    assert bench.policy.held_hosts == frozenset()


def test_timed_cells_wait_a_minute_for_their_host(bench_of: Callable[..., Bench]) -> None:
    """Then they start again on another. One told at once, once."""
    bench = bench_of("a")
    bench.finish_untimed()
    task, _ = bench.take()
    bench.end(task, rows_of(task))
    bench.join("b")
    (told,) = bench.decide([])
    text = "3 cells of device cpu began on node a, which is gone; registered now: cpu"
    assert told == Tell(
        f"waiting: {text}. They fail in 10:00 min unless it joins: gfjobs node start"
    )
    bench.now_s = GRACE_S - 1
    assert bench.decide([]) == []
    assert list(bench.policy.decide(is_looking=False)) == []
    bench.now_s = GRACE_S
    assert bench.decide([]) == [
        Tell(f"{text}: they start anew on another"),
        RestartBlock(bench.blocks[1]),
    ]


def test_a_block_of_which_nothing_is_done_moves_at_once(bench_of: Callable[..., Bench]) -> None:
    """Its host left before its first task was done."""
    bench = bench_of("a")
    bench.finish_untimed()
    task, _ = bench.take()
    bench.join("b")
    ended = bench.policy.end(task, LOST)
    bench.placement.give_back(task, again=ended.is_retried)
    assert kinds(bench.decide([ended])) == [Retry, Tell, RestartBlock]


def test_cells_that_no_host_can_take_fail_in_the_end(bench_of: Callable[..., Bench]) -> None:
    """Each of them, with the reason; those that have ended are left alone."""
    bench = bench_of()
    first = bench.blocks[0].cells[0].cell_id
    bench.cells.fail(first, "of its own")
    assert kinds(bench.decide([])) == [Tell, Tell], "one for each block"
    bench.now_s = WAIT_S - 1
    assert bench.decide([]) == []
    bench.now_s = WAIT_S
    told, *failed = bench.decide([])[: 1 + 2]
    error = (
        "3 cells of device cpu: no node has it; registered now: nothing; nothing changed in"
        " 10:00 min"
    )
    assert told == Tell(f"{error}: they fail")
    ids = [cell.cell_id for cell in bench.blocks[0].cells if cell.cell_id != first]
    assert failed == [FailCell(cell_id, error) for cell_id in ids]
    assert bench.placement.is_done(bench.policy.is_over)
