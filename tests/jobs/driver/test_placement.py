"""Which task goes where: on hosts and with a clock that the test makes up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

import storage
from jobs.common.clock import now
from jobs.driver.block_affinity import resolved_devices
from jobs.driver.cell_states import queued_rows
from jobs.driver.in_flight import InFlight
from jobs.driver.placement import Placement, Stuck
from jobs.machine.slots import Host, Slot
from jobs.plan.cell import Later
from jobs.plan.order import CellBlock, make_blocks
from jobs.plan.plan import Plan
from jobs.plan.task import Task

GRID = """\
models: [flat.safetensors, dynn.safetensors]
datasets: [{name: digits, split: train, limit: 1100}, {name: digits, limit: 100}]
devices: [DEVICE]
thresholds: [0.5]
latency: {rounds: 2, images: 1100}
"""
NANO = "jetson-orin-nano"


def board(number: int, device: str = NANO) -> Host:
    """One of several equal boards, with room for two tasks."""
    return Host(f"board{number}", 2, {device: 1}, is_here=False)


def never(_cell: str) -> bool:
    """No cell is over."""
    return False


class Run:
    """A placement of all tasks of a grid, and what was taken."""

    def __init__(
        self,
        plan: Plan,
        affinities: dict[CellBlock, str] | None = None,
        resolved: dict[str, str] | None = None,
    ) -> None:
        self.now_s = 0.0
        self.blocks = make_blocks(plan, by_device=True)
        self.placement = Placement(
            [(block, block.tasks("r", frozenset())) for block in self.blocks],
            affinities,
            resolved,
            clock=lambda: self.now_s,
        )
        self.taken: list[tuple[Task, Slot]] = []

    def fill(self) -> list[tuple[Task, Slot]]:
        """Take all that may start now."""
        started = []
        while found := self.placement.take(never):
            started.append(found)
        self.taken += started
        return started

    def finish(self) -> None:
        """Take and give back until nothing is left that any place can take."""
        flying = self.fill()
        while flying:
            self.placement.give_back(flying.pop(0)[0])
            flying += self.fill()

    def stuck(self) -> list[Stuck]:
        """Blocks without a host."""
        return self.placement.stuck(never)


@pytest.fixture
def grid(plan_of: Callable[[str], Plan]) -> Callable[[str], Plan]:
    """A grid on some devices."""
    return lambda devices: plan_of(GRID.replace("DEVICE", devices))


@pytest.fixture(autouse=True)
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Grids here may name any device, as for a cluster."""
    from jobs.grid import reader as grids

    device = grids._device
    monkeypatch.setattr(grids, "_device", lambda value, _devices: device(value, None))


def test_timed_cells_stay_on_one_of_three_equal_boards(grid: Callable[[str], Plan]) -> None:
    """All rounds of all cells of a data set on one board; passes without a clock on all three."""
    run = Run(grid(NANO))
    run.placement.update_hosts([board(1), board(2), board(3)])
    run.finish()
    boards: dict[str, set[str]] = {}
    for task, slot in run.taken:
        boards.setdefault(task.dataset if task.is_timed else "exits", set()).add(slot.host)
        assert slot.device == NANO
    timed = [places for name, places in boards.items() if name != "exits"]
    assert [len(places) for places in timed] == [1, 1]
    assert boards["exits"] == {"board1", "board2", "board3"}
    assert timed[0] != timed[1], "another data set goes to a board that is free"
    keys = [task.key for task, _ in run.taken]
    assert (
        len(keys)
        == len(set(keys))
        == sum(1 for b in run.blocks for c in b.cells for _ in c.task_keys())
    )
    assert run.placement.is_done(never)


def test_a_device_is_exact(grid: Callable[[str], Plan]) -> None:
    """A cell goes to its device and to no other, however idle that is."""
    run = Run(grid(f"{NANO}, rtx-4090"))
    run.placement.update_hosts(
        [board(1), Host("bench", 8, {"rtx-4090": 1}, has_gpu=True), board(2, "cpu")]
    )
    run.finish()
    assert {(task.device, slot.host) for task, slot in run.taken} == {
        (NANO, "board1"),
        ("rtx-4090", "bench"),
    }


@pytest.mark.parametrize("asked", ["any", "cuda"])
def test_any_is_bound_once(asked: str, grid: Callable[[str], Plan]) -> None:
    """To the device of the first place that is free; others of that device may help."""
    run = Run(grid(asked))
    gpus = [Host(f"gpu{n}", 2, {name: 1}, has_gpu=True) for n, name in enumerate(("a", "b", "a"))]
    run.placement.update_hosts(gpus)
    run.finish()
    assert {slot.device for _, slot in run.taken} == {"a"}
    assert {slot.host for _, slot in run.taken} == {"gpu0", "gpu2"}


def test_what_any_was_is_kept(grid: Callable[[str], Plan]) -> None:
    """A resumed run goes on with the device that it began on."""
    run = Run(grid("any"), resolved={"any": "b"})
    run.placement.update_hosts([board(1, "a"), board(2, "b")])
    run.finish()
    assert {slot.host for _, slot in run.taken} == {"board2"}


def test_what_any_was_on_a_host_of_several_devices(grid: Callable[[str], Plan]) -> None:
    """The cell's own row says it: that of the node has the device of its first commit."""
    plan = grid("any, slow")
    cell = next(cell for cell in plan.cells if cell.setting.device == "any")
    entry = storage.CommitEntry(cell.cell_id, 0, 0, "laptop", 1, 0.1, now())
    nodes = [storage.NodeRow("r", "laptop", device="slow")]
    rows = [
        replace(row, node="laptop", device="fast") if row.cell_id == cell.cell_id else row
        for row in queued_rows(plan, "r")
    ]
    blocks = make_blocks(plan, by_device=True)
    assert resolved_devices(blocks, [entry], nodes, rows) == {"any": "fast"}
    assert resolved_devices(blocks, [entry], nodes, queued_rows(plan, "r")) == {"any": "slow"}


def test_a_timed_task_is_alone_on_its_board(grid: Callable[[str], Plan]) -> None:
    """Nothing starts beside it there; other boards go on."""
    run = Run(grid(NANO))
    run.placement.update_hosts([board(1), board(2)])
    flying = run.fill()
    while flying:
        for name in ("board1", "board2"):
            here = [task for task, slot in flying if slot.host == name]
            assert len(here) == 1 or not any(task.is_timed for task in here)
        run.placement.give_back(flying.pop(0)[0])
        flying += run.fill()


def test_joining_and_leaving(grid: Callable[[str], Plan]) -> None:
    """One that joins gets work; what a lost one had goes to another first."""
    run = Run(grid(NANO))
    run.placement.update_hosts([board(1)])
    first = run.fill()
    assert {slot.host for _, slot in first} == {"board1"}
    run.placement.update_hosts([board(1), board(2)])
    assert {slot.host for _, slot in run.fill()} == {"board2"}
    lost = first[0][0]
    run.placement.give_back(lost, again=True)
    assert run.fill()[0][1].host == "board1", "another task; the lost one is kept from it"
    assert lost not in [task for task, _ in run.taken[2:]]
    run.placement.update_hosts([board(1)])
    run.placement.give_back(first[1][0])
    assert run.fill()[0][0] == lost, "there is no other board now"


def test_a_board_that_comes_back_goes_on(grid: Callable[[str], Plan]) -> None:
    """Under its name: its timed cells wait for it, and go nowhere else before their time."""
    run = Run(grid(NANO), affinities=affinities(grid(NANO)))
    run.placement.update_hosts([board(2)])
    run.finish()
    assert not any(task.is_timed for task, _ in run.taken)
    (stuck, other) = run.stuck()
    assert stuck.is_new
    assert "began on node board1, which is gone" in stuck.reason
    assert (stuck.can_move, stuck.has_nothing, stuck.waited_s) == (True, False, 0)
    assert other.block.is_timed
    run.now_s = 59.0
    assert [(each.is_new, each.waited_s) for each in run.stuck()] == [(False, 59)] * 2
    run.placement.update_hosts([board(1), board(2)])
    assert run.stuck() == []
    run.finish()
    assert {slot.host for task, slot in run.taken if task.is_timed} == {"board1"}


def test_a_board_that_stays_away_loses_its_cells(grid: Callable[[str], Plan]) -> None:
    """They start anew on another: the block says so, and may then go there."""
    run = Run(grid(NANO), affinities=affinities(grid(NANO)))
    run.placement.update_hosts([board(2)])
    run.finish()
    for stuck in run.stuck():
        assert stuck.can_move
        run.placement.restart(stuck.block, stuck.block.tasks("r", frozenset()))
    run.finish()
    assert {slot.host for task, slot in run.taken if task.is_timed} == {"board2"}
    assert run.placement.is_done(never)


def test_a_device_that_nobody_has(grid: Callable[[str], Plan]) -> None:
    """Its cells wait; the others run."""
    run = Run(grid(f"{NANO}, jetson-agx-orin"))
    run.placement.update_hosts([board(1)])
    run.finish()
    assert {task.device for task, _ in run.taken} == {NANO}
    stuck = run.stuck()
    assert {each.block.device for each in stuck} == {"jetson-agx-orin"}
    assert stuck[0].reason == (
        "4 cells of device jetson-agx-orin: no node has it; registered now: jetson-orin-nano"
    )
    assert not any(each.can_move for each in stuck)
    assert not run.placement.is_done(never)
    failed = {cell.cell_id for each in stuck for cell in each.block.cells}
    assert run.placement.is_done(lambda cell: cell in failed)


def test_equal_gpus_of_one_host(plan_of: Callable[[str], Plan]) -> None:
    """Untimed tasks are spread over them, a timed one is on the first, alone."""
    queue = iter(
        make_blocks(plan_of(GRID.replace("DEVICE", "any")), by_device=False)[0].tasks("r", ())
    )
    tasks = list(queue)
    untimed = [task for task in tasks if not task.is_timed]
    timed = next(task for task in tasks if task.is_timed)
    there = InFlight(Host("bench", 16, {"rtx-4090": 2, "h100": 1}, has_gpu=True))
    slots = [there.begin(task, "rtx-4090") for task in untimed[:4]]
    assert [slot.number for slot in slots] == [0, 1, 0, 1]
    assert not there.has_room(untimed[4], "rtx-4090")
    assert not there.has_room(timed, "rtx-4090")
    for task in untimed[:4]:
        there.end(task)
    assert there.has_room(timed, "rtx-4090")
    assert there.begin(timed, "rtx-4090") == Slot("bench", "rtx-4090", 0)
    assert not there.has_room(untimed[4], "h100")


def affinities(plan: Plan) -> dict[CellBlock, str]:
    """All timed blocks have begun on board 1."""
    return {block: "board1" for block in make_blocks(plan, by_device=True) if block.is_timed}


def test_another_device_of_a_busy_host_is_not_held_up(grid: Callable[[str], Plan]) -> None:
    """A host with two kinds of GPU: while one has all it can take, the other gets work."""
    run = Run(grid("rtx-4090, h100"))
    run.placement.update_hosts([Host("bench", 16, {"rtx-4090": 1, "h100": 1}, has_gpu=True)])
    assert [slot.device for _, slot in run.fill()] == ["rtx-4090", "rtx-4090", "h100", "h100"]
    run = Run(grid("rtx-4090, h100"))
    run.placement.update_hosts([Host("bench", 3, {"rtx-4090": 1, "h100": 1}, has_gpu=True)])
    assert [slot.device for _, slot in run.fill()] == ["rtx-4090", "rtx-4090", "h100"], "it is full"


def test_what_was_timed_is_not_dropped_for_what_is_added(plan_of: Callable[[str], Plan]) -> None:
    """A block with an addition waits for its own machine, and then fails; it does not move."""
    plan = plan_of(GRID.replace("DEVICE", NANO))
    timed = [cell for cell in plan.cells if cell.is_timed]
    added = {cell.cell_id: (0, 2) for cell in timed if cell.model.name == "dynn"}
    run = Run(
        replace(plan, later=(Later("2026-01-01 00:00:00", added),)),
        affinities={
            block: "board1" for block in make_blocks(plan, by_device=True) if block.is_timed
        },
    )
    run.placement.update_hosts([board(2)])
    for task, _ in run.fill():  # passes without a clock, which any board takes
        run.placement.give_back(task)
    while started := run.fill():
        for task, _ in started:
            run.placement.give_back(task)
    (first, second) = run.placement.stuck(never)
    assert first.is_new
    assert "were timed on node board1, which is gone, and added cells" in first.reason
    assert not first.can_move
    assert not second.can_move
    assert second.block.is_immovable


def test_a_lost_task_holds_up_no_other(grid: Callable[[str], Plan]) -> None:
    """While the other board is busy, all the rest is done where it was lost; then it goes there."""
    run = Run(grid(NANO))
    run.placement.update_hosts([board(1), board(2)])
    busy = [task for task, slot in run.fill() if slot.host == "board2"]
    lost, *here = [task for task, slot in run.taken if slot.host == "board1"]
    assert (len(here), len(busy)) == (1, 2)
    run.placement.give_back(lost, again=True)
    later = run.fill()
    here += [task for task, _ in later]
    while here:
        run.placement.give_back(here.pop(0))
        started = run.fill()
        later += started
        here += [task for task, _ in started]
    assert {slot.host for _, slot in later} == {"board1"}
    assert lost not in [task for task, _ in later]
    assert sum(not task.is_timed for task, _ in later) == 2, "four of six passes had gone before"
    timed = sum(c.rounds * len(c.shards) for b in run.blocks if b.is_timed for c in b.cells)
    assert sum(task.is_timed for task, _ in later) == timed
    run.placement.give_back(busy[0])
    assert run.fill() == [(lost, Slot("board2", NANO))]


def test_the_emptiest_host_is_first(grid: Callable[[str], Plan]) -> None:
    """By the share of its room that is taken; of equals the one that is named first."""
    run = Run(grid(NANO))
    run.placement.update_hosts([board(1), replace(board(2), capacity=4), board(3)])
    order = [slot.host for _, slot in run.fill()]
    # Shares when asked: all 0; then 1/2, 1/4, 1/2: board2; then 1/2 each: board1.
    assert order == ["board1", "board2", "board3", "board2", "board1", "board2"]


@pytest.mark.parametrize("others", [[], [board(2, "cpu")]])
def test_a_held_host_works_where_it_is_the_only_one(
    others: list[Host], grid: Callable[[str], Plan]
) -> None:
    """Also beside hosts of other devices; where another can take them, it gets none of these."""
    run = Run(grid(NANO))
    run.placement.update_hosts([board(1), *others])
    found = run.placement.take(never, ["board1"])
    assert found
    assert found[1].host == "board1"
    run.placement.update_hosts([board(1), *others, board(3)])
    found = run.placement.take(never, ["board1"])
    assert found
    assert found[1].host == "board3"
    taken = run.placement.take(never, ["board1"])
    assert taken
    assert taken[1].host == "board3"
    assert run.placement.take(never, ["board1"]) is None, "board3 is full, and board1 held"


def test_a_lost_timed_task_keeps_its_place(grid: Callable[[str], Plan]) -> None:
    """It goes to its own board again though another could take it, before all others of it."""
    run = Run(grid(NANO))
    run.placement.update_hosts([board(1), board(2)])
    expected = [list(b.tasks("r", ())) for b in run.blocks if b.is_timed]
    lost = 0
    flying = run.fill()
    while flying:
        task, _ = flying.pop(0)
        is_lost = task.is_timed and [each for each, _ in run.taken].count(task) == 1
        lost += is_lost
        run.placement.give_back(task, again=is_lost)
        flying += run.fill()
    assert lost == sum(map(len, expected))
    for tasks in expected:
        block = [(each, slot.host) for each, slot in run.taken if each in tasks]
        assert [each for each, _ in block] == [each for each in tasks for _ in range(2)]
        assert len({host for _, host in block}) == 1


def test_a_block_of_which_nothing_is_done_does_not_wait(grid: Callable[[str], Plan]) -> None:
    """Its board left before its first task was done: another board takes it at once."""
    run = Run(grid(NANO))
    run.placement.update_hosts([board(1)])
    flying = run.fill()
    while not flying[0][0].is_timed:
        run.placement.give_back(flying.pop(0)[0])
        flying += run.fill()
    first = flying[0][0]
    run.placement.update_hosts([board(2)])
    assert run.stuck() == [], "Ray has not said yet that it is lost"
    run.placement.give_back(first, again=True)
    (stuck,) = run.stuck()
    assert (stuck.can_move, stuck.has_nothing) == (True, True)
    assert "about to begin on node board1, which is gone" in stuck.reason
    run.placement.restart(stuck.block, stuck.block.tasks("r", ()))
    assert run.fill() == [(first, Slot("board2", NANO))]
    run.placement.give_back(first)
    run.placement.update_hosts([board(1)])
    assert not any(stuck.has_nothing for stuck in run.stuck()), "now it has rows of board2"


def test_a_host_with_what_cannot_move_is_not_spared(plan_of: Callable[[str], Plan]) -> None:
    """Set aside, it would leave what was added to its timed cells without any host."""
    plan = plan_of(GRID.replace("DEVICE", NANO))
    added = {c.cell_id: (0, 2) for c in plan.cells if c.is_timed and c.model.name == "dynn"}
    later = replace(plan, later=(Later("2026-01-01 00:00:00", added),))
    both = [board(1), board(2)]
    for each, can in ((later, False), (plan, True)):
        run = Run(each, affinities=affinities(each))
        run.placement.update_hosts(both)
        assert run.placement.can_spare("board1", never) == can
        assert run.placement.can_spare("board2", never)
    run = Run(plan)
    run.placement.update_hosts([board(1), board(2, "cpu")])
    assert not run.placement.can_spare("board1", never), "the other has not its device"
    assert run.placement.can_spare("board2", never), "it could do nothing of it"
    over = {cell.cell_id for cell in later.cells if cell.is_timed}
    run = Run(later, affinities=affinities(later))
    run.placement.update_hosts(both)
    assert run.placement.can_spare("board1", lambda cell: cell in over), "none of them is left"


def test_where_a_task_is_and_whether_another_could_do_it(grid: Callable[[str], Plan]) -> None:
    """One that has its device and where it was not lost yet; none, of what has a home."""
    run = Run(grid(NANO))
    run.placement.update_hosts([board(1), board(2), board(3, "cpu")])
    started = run.fill()
    assert run.placement.in_flight == len(started) == 4
    assert [run.placement.slot(task) for task, _ in started] == [slot for _, slot in started]
    task, slot = started[0]
    assert slot == Slot("board1", NANO)
    assert run.placement.can_go_elsewhere(task)
    run.placement.set_aside("board2")
    assert not run.placement.can_go_elsewhere(task), "board2 takes nothing more"
    run.placement.give_back(task, again=True)
    assert run.placement.in_flight == 3
    run = Run(grid(NANO))
    run.placement.update_hosts([board(1), board(2)])
    task = run.fill()[0][0]
    run.placement.give_back(task, again=True)
    run.placement.give_back(next(t for t, slot in run.taken if slot.host == "board2"))
    found = next(slot for again, slot in run.fill() if again == task)
    assert found.host == "board2"
    assert not run.placement.can_go_elsewhere(task), "board1 lost it before"
    run.placement.give_back(task, again=True, is_lost=False)
    run.finish()
    run = Run(grid(NANO), affinities=affinities(grid(NANO)))
    run.placement.update_hosts([board(1), board(2)])
    flying = run.fill()
    while not any(task.is_timed for task, _ in flying):
        run.placement.give_back(flying.pop(0)[0])
        flying += run.fill()
    timed = next(task for task, _ in flying if task.is_timed)
    assert not run.placement.can_go_elsewhere(timed)


def test_what_could_move(plan_of: Callable[[str], Plan]) -> None:
    """A timed block, where another host than its own has its device, unless something was added."""
    plan = plan_of(GRID.replace("DEVICE", NANO))
    run = Run(plan, affinities=affinities(plan))
    block = next(block for block in run.blocks if block.is_timed)
    for places, can in (
        ([], False),
        ([board(1)], False),
        ([board(1), board(2, "cpu")], False),
        ([board(1), board(2)], True),
    ):
        run.placement.update_hosts(places)
        assert run.placement.can_move(block) is can
    added = {c.cell_id: (0, 2) for c in plan.cells if c.is_timed and c.model.name == "dynn"}
    later = replace(plan, later=(Later("2026-01-01 00:00:00", added),))
    run = Run(later, affinities=affinities(later))
    run.placement.update_hosts([board(1), board(2)])
    assert not any(run.placement.can_move(block) for block in run.blocks if block.is_timed)


def test_what_is_idle_and_what_flies(grid: Callable[[str], Plan]) -> None:
    """A block waits, is in flight, or both, or has nothing left."""
    run = Run(grid(NANO))
    block = run.blocks[0]
    over = {cell.cell_id for cell in block.cells}
    assert not run.placement.is_idle(block, never)
    assert run.placement.is_idle(block, lambda cell: cell in over)
    run = Run(grid(NANO))
    assert run.placement.is_in_flight(block) is False
    run.placement.update_hosts([board(1)])
    flying = run.fill()
    assert run.placement.is_in_flight(block) is True
    assert not run.placement.is_idle(block, lambda cell: cell in over), "in flight"
    for task, _ in flying:
        run.placement.give_back(task)
    run.finish()
    assert run.placement.is_idle(block, never)
    assert run.placement.is_in_flight(block) is False


def test_a_host_set_aside_gets_nothing_and_keeps_nothing(grid: Callable[[str], Plan]) -> None:
    """Its timed cells start anew elsewhere at once, though they have rows of it."""
    run = Run(grid(NANO), affinities=affinities(grid(NANO)))
    run.placement.update_hosts([board(1), board(2)])
    run.placement.set_aside("board1")
    run.finish()
    assert {slot.host for _, slot in run.taken} == {"board2"}
    assert not any(task.is_timed for task, _ in run.taken)
    stuck, _ = run.stuck()
    assert (stuck.can_move, stuck.has_nothing) == (True, True)
    assert stuck.reason == (
        f"2 cells of device {NANO} began on node board1, which is set aside; registered now:"
        f" {NANO}; set aside: board1"
    )
    run.placement.set_aside("board2")
    (stuck, *_) = run.stuck()
    assert (stuck.can_move, stuck.is_new) == (False, False)
    assert stuck.reason == (
        f"2 cells of device {NANO} began on node board1, which is set aside, and no other"
        " node has this device;"
        f" registered now: {NANO}; set aside: board1, board2"
    )


def test_a_block_avoids_the_host_that_it_left(grid: Callable[[str], Plan]) -> None:
    """Started anew for that reason, it goes anywhere else; without a reason, anywhere."""
    run = Run(grid(NANO), affinities=affinities(grid(NANO)))
    timed = [block for block in run.blocks if block.is_timed]
    run.placement.update_hosts([board(1)])
    run.placement.restart(timed[0], timed[0].tasks("r", ()), "board1")
    run.placement.restart(timed[1], timed[1].tasks("r", ()))
    run.finish()
    assert {task.dataset for task, _ in run.taken if task.is_timed} == {timed[1].dataset}
    (stuck,) = run.stuck()
    assert stuck.block == timed[0]
    assert stuck.reason == f"2 cells of device {NANO}: no node has it; registered now: {NANO}"
    run.placement.update_hosts([])
    assert run.stuck()[0].reason == (
        f"2 cells of device {NANO}: no node has it; registered now: nothing"
    )
    run.placement.restart(timed[0], timed[0].tasks("r", ()), "board2")
    run.placement.update_hosts([board(1), board(2)])
    run.finish()
    assert [each.block for each in run.stuck()] == [timed[0]], "it avoids both"


def test_what_is_told_of_one_cell_and_of_other_devices(plan_of: Callable[[str], Plan]) -> None:
    """In the singular, and each device that is there once, in alphabetical order."""
    text = GRID.replace("DEVICE", NANO).replace(", dynn.safetensors", "")
    run = Run(plan_of(text.replace(", {name: digits, limit: 100}", "") + "measure: [latency]\n"))
    run.placement.update_hosts(
        [Host("bench", 2, {"h100": 1, "a100": 2}), board(1, "cpu"), board(2, "cpu")]
    )
    (stuck,) = run.stuck()
    assert stuck.reason == (
        f"1 cell of device {NANO}: no node has it; registered now: a100, cpu, h100"
    )


def test_how_long_a_block_has_waited(grid: Callable[[str], Plan]) -> None:
    """From when no host could take it; it begins anew once one could."""
    run = Run(grid(NANO), affinities=affinities(grid(NANO)))
    run.now_s = 1000.0
    run.placement.update_hosts([board(2)])
    run.finish()
    assert [(each.is_new, each.waited_s) for each in run.stuck()] == [(True, 0)] * 2
    run.now_s += 60
    assert [(each.is_new, each.waited_s) for each in run.stuck()] == [(False, 60)] * 2
    run.placement.update_hosts([board(1), board(2)])
    assert run.stuck() == []
    run.placement.update_hosts([])
    run.now_s += 500
    assert [(each.is_new, each.waited_s) for each in run.stuck()] == [(True, 0)] * 2
    run.now_s += 599
    assert [(each.is_new, each.waited_s) for each in run.stuck()] == [(False, 599)] * 2


def test_any_is_not_bound_on_the_only_machine(grid: Callable[[str], Plan]) -> None:
    """What `any` means there is for its worker to say; each name of a grid is one of its own."""
    run = Run(grid("any"))
    here = Host("here", 2)
    run.placement.update_hosts([here])
    assert {slot.device for _, slot in run.fill()} == {"any"}
    run.placement.update_hosts([board(1, "a")])
    assert {slot.device for _, slot in run.fill()} == {"a"}
    run.placement.update_hosts([board(2, "b")])
    assert run.fill() == [], "it is `a` from now on"


def test_what_any_is_known_to_be(grid: Callable[[str], Plan]) -> None:
    """By an earlier part of the run: of a host's devices that one, and it is told by its name."""
    run = Run(grid("any"), resolved={"any": "b"})
    assert run.placement.take(never) is None, "no host is known yet"
    run.placement.update_hosts([Host("two", 2, {"a": 1, "b": 1})])
    assert {slot.device for _, slot in run.fill()} == {"b"}
    run = Run(grid("any"), resolved={"any": "b"})
    run.placement.update_hosts([board(1, "a")])
    assert {stuck.reason.split(":")[0] for stuck in run.stuck()} == {
        "4 cells of device b",
        "2 cells of device b",
    }


def test_the_drivers_own_machine_under_the_clock(grid: Callable[[str], Plan]) -> None:
    """Only while a timed task is in flight, and only on that machine."""
    for is_here in (True, False):
        run = Run(grid(NANO))
        run.placement.update_hosts([replace(board(1), is_here=is_here)])
        flying = run.fill()
        while flying:
            is_timing = any(task.is_timed for task, _ in flying)
            assert run.placement.is_timing_here is (is_timing and is_here)
            run.placement.give_back(flying.pop(0)[0])
            flying += run.fill()
    assert run.placement.is_done(never)


def test_a_host_that_changes_is_asked_as_it_is_now(grid: Callable[[str], Plan]) -> None:
    """What is in flight there counts on; its room is that of the latest look."""
    run = Run(grid(NANO))
    run.placement.update_hosts([replace(board(1), capacity=1)])
    assert len(run.fill()) == 1
    run.placement.update_hosts([replace(board(1), capacity=3)])
    assert len(run.fill()) == 2
