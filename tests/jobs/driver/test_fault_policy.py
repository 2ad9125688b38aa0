"""What a fault costs: another try, a cell, a block's rows or a host; hosts and clock are fakes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from support.driving import rows_of

import storage
from jobs.driver.cell_states import CellStates, queued_rows
from jobs.driver.fault_policy import (
    GRACE_S,
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
from jobs.plan.order import make_blocks
from jobs.plan.plan import Plan
from jobs.plan.task import Outcome, Task

GRID = """\
models: [flat.safetensors, distil.safetensors, dynn.safetensors]
datasets: [{name: digits, split: train, limit: 1100}]
thresholds: [0.5]
devices: [cpu]
latency: {rounds: 2, images: 100}
"""
FEW = GRID.replace(", dynn.safetensors", "")
MANY = GRID.replace("[0.5]", "[0.3, 0.5]")
LOST = Outcome({}, None, error="WorkerCrashedError", is_lost=True)
WAIT_S = 600.0


def broken(text: str) -> Outcome:
    """A failure of a task by itself."""
    return Outcome({}, None, error=f"Traceback\nRuntimeError: {text}")


BROKEN = broken("broken")


class Bench:
    """A policy over a small plan; tasks end, and hosts join and leave, as the test says."""

    def __init__(self, plan: Plan, *hosts: str, capacity: int = 1) -> None:
        self.now_s, self._capacity = 0.0, capacity
        self.blocks = make_blocks(plan, by_device=True)
        self.placement = Placement(
            [(block, block.tasks("r", ())) for block in self.blocks], clock=lambda: self.now_s
        )
        self.cells = CellStates(plan, queued_rows(plan, "r"), ())
        self.policy = FaultPolicy(self.blocks, self.placement, self.cells, WAIT_S)
        self.join(*hosts)

    def join(self, *hosts: str) -> None:
        """These hosts are there from now on, and no others."""
        self.placement.update_hosts([Host(name, self._capacity, {"cpu": 1}) for name in hosts])

    def take(self) -> tuple[Task, str]:
        """The next task, and its host."""
        found = self.placement.take(self.policy.is_over, self.policy.held_hosts)
        assert found is not None
        return found[0], found[1].host

    def end(self, task: Task, outcome: Outcome) -> list[Action]:
        """A task ends; what is done about it."""
        host = self.placement.slot(task).host
        ended = self.policy.end(task, outcome)
        self.placement.give_back(task, again=ended.is_retried)
        if outcome.skipped:
            self.cells.skip(task, outcome.skipped)
        elif not outcome.error:
            node = storage.NodeRow(run_id="r", node=host, device="cpu")
            self.cells.commit(task, replace(outcome, node=node))
        return self.decide(ended, is_looking=False)

    def decide(self, *ended: EndedTask, is_looking: bool = True) -> list[Action]:
        """What is done now, after it has been done."""
        actions = []
        for action in self.policy.decide(ended, is_looking=is_looking):
            actions.append(action)
            if isinstance(action, FailCell):
                self.cells.fail(action.cell_id, action.error)
            elif isinstance(action, SetAside):
                self.placement.set_aside(action.host)
            elif isinstance(action, RestartBlock):
                self.cells.restart([cell.cell_id for cell in action.block.cells])
                tasks = action.block.tasks("r", ())
                self.placement.restart(action.block, tasks, action.avoided)
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

    def made(*hosts: str, grid: str = GRID, **more: int) -> Bench:
        return Bench(plan_of(grid), *hosts, **more)

    return made


def kinds(actions: list[Action]) -> list[type]:
    """What kinds of action these are."""
    return [type(action) for action in actions]


def retried(actions: list[Action]) -> list[tuple[Task, bool]]:
    """The tasks that get a further try, and whether they are in their queue for it."""
    assert set(kinds(actions)) == {Retry}
    return [(action.ended.task, action.ended.is_retried) for action in actions]


def test_a_lost_task_has_three_tries(bench_of: Callable[..., Bench]) -> None:
    """One that was lost before it began was no try; the third fails the cell."""
    bench = bench_of("a")
    untried = replace(LOST, is_untried=True)
    for outcome in (LOST, untried, untried, LOST):
        task, _ = bench.take()
        assert retried(bench.end(task, outcome)) == [(task, True)]
    again, _ = bench.take()
    assert bench.end(again, LOST) == [FailCell(task.cell_id, "WorkerCrashedError", task, LOST)]
    other, _ = bench.take()
    assert other.cell_id != task.cell_id


def test_a_task_that_fails_is_tried_on_one_other_host(bench_of: Callable[..., Bench]) -> None:
    """However many there are; with one host alone its cell fails at once."""
    bench = bench_of("a", "b", "c")
    task, host = bench.take()
    assert retried(bench.end(task, BROKEN)) == [(task, True)]
    bench.join(*{"a", "b", "c"} - {host})
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
    assert retried(bench.end(task, BROKEN)) == [(task, False)], "it waits for the cause"
    assert bench.policy.is_over(task.cell_id)
    assert not bench.cells.is_over(task.cell_id)
    other, same = bench.take()
    assert (same, other.cell_id == task.cell_id) == (host, False)
    assert bench.end(other, rows_of(other)) == [FailCell(task.cell_id, BROKEN.error, task, BROKEN)]


def test_a_host_that_fails_every_timed_cell_loses_the_block(bench_of: Callable[..., Bench]) -> None:
    """Two of two, on a host that has done none; they start again on another."""
    bench = bench_of("a", "b", grid=FEW)
    bench.finish_untimed()
    task, host = bench.take()
    assert retried(bench.end(task, broken("first"))) == [(task, False)]
    task, same = bench.take()
    assert same == host
    retry, told, restart = bench.end(task, broken("last"))
    assert retried([retry]) == [(task, False)]
    assert told == Tell(
        f"node {host} failed all of 2 cells in a row: the timed cells of {task.dataset} restart"
        " on another node (RuntimeError: last)",
        host,
        f"set aside for timed cells of {task.dataset}: RuntimeError: last",
    )
    assert restart == RestartBlock(bench.blocks[1], host)
    assert not bench.policy.is_over(task.cell_id)
    assert bench.take()[1] != host


def test_timed_cells_fail_where_no_other_host_can_take_them(
    bench_of: Callable[..., Bench],
) -> None:
    """Each with what it failed with."""
    bench = bench_of("a")
    bench.finish_untimed()
    for _ in range(3):
        task, _ = bench.take()
        assert bench.end(task, BROKEN) == [FailCell(task.cell_id, BROKEN.error, task, BROKEN)]


def test_three_timed_cells_in_a_row_are_enough(bench_of: Callable[..., Bench]) -> None:
    """The fourth is not tried there, and what the host has done before does not save it."""
    bench = bench_of("a", "b", grid=MANY)
    bench.finish_untimed()
    tasks = []
    task, _ = bench.take()
    bench.end(task, rows_of(task))
    for _ in range(3):
        tasks.append(bench.take()[0])
        actions = bench.end(tasks[-1], broken(f"number {len(tasks)}"))
    assert len({task.cell_id for task in tasks}) == 3
    assert kinds(actions) == [Retry, Tell, RestartBlock]
    assert isinstance(actions[1], Tell)
    assert actions[1].note.endswith("RuntimeError: number 3"), "the last reason"


def test_two_timed_cells_that_fail_on_a_host_with_rows_are_broken(
    bench_of: Callable[..., Bench],
) -> None:
    """Once nothing else of the block is left to try: its rows are worth more than a guess."""
    bench = bench_of("a", "b", grid=FEW)
    bench.finish_untimed()
    task, _ = bench.take()
    assert bench.end(task, rows_of(task)) == []
    first, _ = bench.take()
    assert retried(bench.end(first, broken("first"))) == [(first, False)]
    second, _ = bench.take()
    retry, *failed = bench.end(second, broken("second"))
    assert retried([retry]) == [(second, False)]
    assert failed == [
        FailCell(task.cell_id, outcome.error, task, outcome)
        for task, outcome in ((first, broken("first")), (second, broken("second")))
    ]
    assert bench.decide(is_looking=False) == [], "that is done"


def test_a_host_set_aside_keeps_no_timed_cells(bench_of: Callable[..., Bench]) -> None:
    """Not even those that it has rows of."""
    bench = bench_of("a", "b", grid=FEW)
    bench.finish_untimed()
    task, host = bench.take()
    assert bench.end(task, rows_of(task)) == []
    first, _ = bench.take()
    bench.end(first, BROKEN)
    bench.policy._aside.add(host)
    second, _ = bench.take()
    assert kinds(bench.end(second, BROKEN)) == [Retry, Tell, RestartBlock]


def failed_on(bench: Bench, tasks: int, outcome: Outcome = BROKEN) -> None:
    """Some tasks fail on the host `bad` while `good` is there, too."""
    bench.join("bad")
    taken = [bench.take()[0] for _ in range(tasks)]
    bench.join("bad", "good")
    for task in taken:
        assert retried(bench.end(task, outcome)) == [(task, True)]


def test_after_three_tasks_that_others_did_a_host_is_set_aside(
    bench_of: Callable[..., Bench],
) -> None:
    """Once, with the error of the last of them."""
    bench = bench_of(capacity=4)
    failed_on(bench, 4)
    assert bench.policy.held_hosts == {"bad"}
    bench.join("good")
    taken = [bench.take()[0] for _ in range(4)]
    bench.join("bad", "good")
    said = [bench.end(task, rows_of(task)) for task in taken]
    note = "set aside: other nodes completed 3 tasks that it failed (RuntimeError: broken)"
    assert said == [
        [],
        [],
        [
            SetAside("bad"),
            Tell(f"node bad is {note}; they take over its tasks", "bad", note),
        ],
        [],
    ]


def test_a_host_that_cannot_be_spared_is_not_set_aside(bench_of: Callable[..., Bench]) -> None:
    """The other one has left when its third task comes back."""
    bench = bench_of(capacity=3)
    failed_on(bench, 3)
    bench.join("good")
    taken = [bench.take()[0] for _ in range(3)]
    bench.join("bad")
    assert [bench.end(task, rows_of(task)) for task in taken] == [[], [], []]


def test_a_host_that_did_what_it_had_lost_has_no_fault(bench_of: Callable[..., Bench]) -> None:
    """Though another is there that could do all of it."""
    bench = bench_of("bad", capacity=3)
    for _ in range(3):
        task, _ = bench.take()
        bench.end(task, LOST)
        again, _ = bench.take()
        assert again == task
        bench.join("bad", "good")
        assert bench.end(task, rows_of(task)) == []
        bench.join("bad")


@pytest.mark.parametrize("is_skipped", [True, False])
def test_a_cell_that_has_ended_says_nothing_of_a_host(
    is_skipped: bool, bench_of: Callable[..., Bench]
) -> None:
    """It failed on both hosts, or the other one cannot do it at all."""
    bench = bench_of(capacity=3)
    failed_on(bench, 3)
    assert bench.policy.held_hosts == {"bad"}
    bench.join("good")
    task, _ = bench.take()
    bench.join("bad", "good")
    outcome = Outcome({}, None, skipped="no such engine") if is_skipped else BROKEN
    assert kinds(bench.end(task, outcome)) == ([] if is_skipped else [FailCell])
    assert bench.policy.held_hosts == frozenset()


@pytest.mark.parametrize("state", ["is_gone", "is_corrupted"])
def test_a_loss_on_the_way_says_nothing_of_the_host(
    state: str, bench_of: Callable[..., Bench]
) -> None:
    """Three tasks were lost with their node or arrived damaged: it is not held."""
    bench = bench_of(capacity=3)
    failed_on(bench, 3, replace(LOST, **{state: True}))
    assert bench.policy.held_hosts == frozenset()


def test_timed_cells_wait_a_minute_for_their_host(bench_of: Callable[..., Bench]) -> None:
    """Then they start again on another, with all their tries. Told at once, and once."""
    bench = bench_of("a")
    bench.finish_untimed()
    task, _ = bench.take()
    bench.end(task, rows_of(task))
    for _ in range(2):
        lost, _ = bench.take()
        assert retried(bench.end(lost, LOST)) == [(lost, True)]
    bench.join("b")
    (told,) = bench.decide()
    text = "3 cells of device cpu began on node a, which is gone; registered now: cpu"
    assert told == Tell(
        f"waiting: {text}. They fail in 10:00 min unless a node that can take them joins:"
        " gfjobs node start"
    )
    bench.now_s = GRACE_S - 1
    assert bench.decide() == []
    bench.now_s = GRACE_S
    assert bench.decide(is_looking=False) == []
    assert bench.decide() == [
        Tell(f"{text}: they restart on another node"),
        RestartBlock(bench.blocks[1]),
    ]
    assert bench.take() == (task, "b")
    bench.end(task, rows_of(task))
    again, host = bench.take()
    assert (again, host) == (lost, "b")
    assert retried(bench.end(lost, LOST)) == [(lost, True)]


def test_a_block_of_which_nothing_is_done_moves_at_once(bench_of: Callable[..., Bench]) -> None:
    """Its host left before its first task was done."""
    bench = bench_of("a")
    bench.finish_untimed()
    task, _ = bench.take()
    bench.join("b")
    ended = bench.policy.end(task, LOST)
    bench.placement.give_back(task, again=ended.is_retried)
    assert kinds(bench.decide(ended)) == [Retry, Tell, RestartBlock]


def test_cells_that_no_host_can_take_fail_in_the_end(bench_of: Callable[..., Bench]) -> None:
    """Each of them, with the reason; those that have ended are left alone."""
    bench = bench_of()
    first = bench.blocks[0].cells[0].cell_id
    bench.cells.fail(first, "of its own")
    assert kinds(bench.decide()) == [Tell, Tell], "one for each block"
    bench.now_s = WAIT_S - 1
    assert bench.decide() == []
    bench.now_s = WAIT_S
    told, *failed = bench.decide()[: 1 + 2]
    error = (
        "3 cells of device cpu: no node has it; registered now: nothing; nothing changed in"
        " 10:00 min"
    )
    assert told == Tell(f"{error}: they fail")
    ids = [cell.cell_id for cell in bench.blocks[0].cells if cell.cell_id != first]
    assert failed == [FailCell(cell_id, error) for cell_id in ids]
    assert bench.placement.is_done(bench.policy.is_over)


def test_cells_that_failed_for_want_of_a_host_are_no_suspects(
    bench_of: Callable[..., Bench],
) -> None:
    """One that was held back fails with the others, once, and counts against no host."""
    bench = bench_of("a", "b")
    bench.finish_untimed()
    task, _ = bench.take()
    assert retried(bench.end(task, BROKEN)) == [(task, False)]
    bench.policy._attribution.fail("a", (task.cell_id, 1, 0), "lost")
    bench.policy._attribution.fail("a", (task.cell_id, 1, 1), "lost")
    assert bench.policy.held_hosts == {"a"}
    bench.join()
    bench.decide()
    bench.now_s = WAIT_S
    told, *failed = bench.decide()
    assert isinstance(told, Tell)
    assert {action.cell_id for action in failed} == {c.cell_id for c in bench.blocks[1].cells}
    assert bench.decide() == []
    assert bench.policy.held_hosts == frozenset()
