"""Where work goes among boards of planted speeds: with a clock that the test makes up."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from support.driving import Scripted, rows_of

import storage
from jobs.driver.cell_states import queued_rows
from jobs.driver.driver import Driver
from jobs.driver.events import RunEvents
from jobs.machine.slots import Host, Slot
from jobs.plan.plan import Plan
from jobs.plan.task import Outcome, Task

SLOW, MID, FAST = 1.0, 4.0, 16.0
EXITS = """\
name: boards
models: [flat.safetensors]
datasets: [{name: digits, split: train}]
devices: [DEVICES]
measure: [accuracy]
"""
TIMED = """\
name: boards
models: [flat.safetensors]
datasets: [{name: digits, limit: 1}, {name: digits, limit: 2}, {name: digits, limit: 3}]
devices: [DEVICES]
measure: [latency]
latency: {rounds: 10}
"""


@dataclass
class Speeds(Scripted):
    """An executor of boards that take their time; it ends when nothing happens for a day."""

    speeds: Mapping[str, float]
    devices: Mapping[str, str] = field(default_factory=dict)
    leaves_s: Mapping[str, float] = field(default_factory=dict)
    capacity: int = 2
    is_one_host = False

    def __post_init__(self) -> None:
        """Nothing has begun."""
        super().__init__()
        self.now_s, self._count = 0.0, itertools.count()
        self._free_s = dict.fromkeys(self.speeds, 0.0)
        self._ends: list[tuple[float, int, Task, Slot]] = []
        self.done: list[tuple[Task, str]] = []

    def hosts(self) -> list[Host]:
        """Those that have not left."""
        return [
            Host(name, self.capacity, {self.devices.get(name, "board"): 1}, is_here=False)
            for name in self.speeds
            if self.leaves_s.get(name, 1e9) > self.now_s
        ]

    def submit(self, task: Task, slot: Slot) -> None:
        """Take a task, behind what the board has; an image takes a second at speed 1."""
        busy_s = (task.shard.stop - task.shard.start) / self.speeds[slot.host]
        self._free_s[slot.host] = max(self._free_s[slot.host], self.now_s) + busy_s
        heapq.heappush(self._ends, (self._free_s[slot.host], next(self._count), task, slot))

    def wait(self, timeout_s: float | None = None) -> tuple[Task, Outcome] | None:
        """The next that ends, or that is lost."""
        until_s = self.now_s + (timeout_s or 0.0)
        assert until_s < 1e8, "it waits for ever"
        if not self._ends or self._ends[0][0] > until_s:
            self.now_s = until_s
            return None
        end_s, _, task, slot = heapq.heappop(self._ends)
        self.now_s = max(end_s, self.now_s)
        if end_s > self.leaves_s.get(slot.host, 1e9):
            return task, Outcome({}, None, error="gone", is_lost=True, is_gone=True)
        self.done.append((task, slot.host))
        busy_s = (task.shard.stop - task.shard.start) / self.speeds[slot.host]
        node = storage.NodeRow(run_id="r", node=slot.host, device=slot.device)
        return task, replace(rows_of(task), busy_s=busy_s, node=node)

    def hosts_of(self, is_of: Callable[[Task], bool]) -> list[str]:
        """Where tasks were done, in order."""
        return [host for task, host in self.done if is_of(task)]


Drive = Callable[[str, Sequence[int], Speeds], "Driven"]


@dataclass
class Driven:
    """A run that has ended."""

    store: storage.RunStore
    root: Path
    told: list[str]


@pytest.fixture(autouse=True)
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Grids here may name any device, as for a cluster."""
    from jobs.grid import reader as grids

    device = grids._device
    monkeypatch.setattr(grids, "_device", lambda value, _devices: device(value, None))


@pytest.fixture
def drive(plan_of: Callable[[str], Plan], tmp_path: Path) -> Drive:
    """Run a grid whose cells have so many images, in the order of its data sets."""

    def driven(grid: str, images: Sequence[int], executor: Speeds) -> Driven:
        plan = plan_of(grid)
        sizes = itertools.cycle(images)
        plan = replace(plan, cells=tuple(replace(c, images=next(sizes)) for c in plan.cells))
        told: list[str] = []
        events = RunEvents()
        events.note = told.append
        row = storage.RunRow(run_id="r", name="boards")
        root = tmp_path / "results"
        with storage.RunStore.create(root, row, queued_rows(plan, "r"), {}) as store:
            assert Driver(store, plan, executor, events, clock=lambda: executor.now_s).run()
            assert {cell.status for cell in store.cells} == {"done"}
        return Driven(store, root, told)

    return driven


def test_the_last_passes_are_left_to_the_fast_board(drive: Drive) -> None:
    """The slow one stops when the others would end all before it ends one more."""
    boards = Speeds({"slow": SLOW, "mid": MID, "fast": FAST})
    drive(EXITS.replace("DEVICES", "board"), [60_000], boards)
    ideal_s = 60_000 / (SLOW + MID + FAST)
    assert boards.now_s < 1.1 * ideal_s
    assert boards.hosts_of(lambda _task: True)[-1] != "slow"


def test_of_equal_boards_none_waits(drive: Drive) -> None:
    """Seven tasks on three boards: three turns."""
    boards = Speeds({"a": 1.0, "b": 1.0, "c": 1.0}, capacity=1)
    drive(EXITS.replace("DEVICES", "board"), [7_000], boards)
    assert boards.now_s == pytest.approx(3_000)


def test_the_slow_board_does_the_rest_where_the_fast_one_leaves(drive: Drive) -> None:
    """What was left to it, and what it lost."""
    boards = Speeds({"slow": SLOW, "fast": FAST}, leaves_s={"fast": 2_000.0})
    drive(EXITS.replace("DEVICES", "board"), [40_000], boards)
    keys = [task.key for task, _ in boards.done]
    assert len(keys) == len(set(keys)) == 40
    assert keys
    assert {host for _, host in boards.done[-5:]} == {"slow"}
    assert boards.now_s < 1.1 * (40_000 - 2_000 * FAST) + 2_000


def test_timed_blocks_go_where_they_end_first(drive: Drive) -> None:
    """Each whole on one board; the largest on the fastest, in ABBA order."""
    boards = Speeds({"slow": SLOW, "mid": MID, "fast": FAST})
    run = drive(TIMED.replace("DEVICES", "board"), [100, 1_000, 10_000], boards)
    whole = {
        limit: list(dict.fromkeys(boards.hosts_of(lambda t, name=limit: t.dataset.endswith(name))))
        for limit in ("@1", "@2", "@3")
    }
    assert whole["@3"][-1] == "fast"
    assert boards.now_s < 1.1 * 100_000 / FAST + 100
    mixed = storage.query(
        run.root, "select cell_id from records group by cell_id having count(distinct node) > 1"
    )
    assert mixed.num_rows == 0
    for limit in whole:
        rounds = [
            t for t, host in boards.done if t.dataset.endswith(limit) and host == whole[limit][-1]
        ]
        assert [t.position for t in rounds] == sorted(t.position or 0 for t in rounds)


def test_a_block_that_turns_out_to_be_slow_begins_elsewhere(drive: Drive) -> None:
    """After its first task, of which nothing is written; and it is told."""
    boards = Speeds({"slow": SLOW, "fast": FAST})
    run = drive(TIMED.replace("DEVICES", "board"), [900, 1_000, 1_000], boards)
    at_slow = [task for task, host in boards.done if host == "slow"]
    assert len(at_slow) == 1
    assert sum(task.key == at_slow[0].key for task, _ in boards.done) == 2
    (told,) = run.told
    assert "begin on node fast" in told
    assert "node slow would take" in told
    counted = storage.query(run.root, "select count(*) as n from records").to_pylist()
    assert counted == [{"n": 10 * 2_900}]


def test_any_becomes_the_device_that_ends_it_first(drive: Drive) -> None:
    """Not the first that is free: each shows its pace with its own cells before."""
    devices = {"slow": "nano", "mid": "orin", "fast": "thor"}
    boards = Speeds({"slow": SLOW, "mid": MID, "fast": FAST}, devices)
    drive(EXITS.replace("DEVICES", "any, nano, orin, thor"), [16_000, 1_000, 4_000, 16_000], boards)
    assert set(boards.hosts_of(lambda task: task.device == "any")) == {"fast"}
    assert boards.now_s < 2_100


def test_any_becomes_a_slower_device_that_has_less_to_do(drive: Drive) -> None:
    """What a device has of its own counts."""
    devices = {"mid": "orin", "fast": "thor"}
    boards = Speeds({"mid": MID, "fast": FAST}, devices)
    drive(EXITS.replace("DEVICES", "any, orin, thor"), [4_000, 1_000, 64_000], boards)
    assert set(boards.hosts_of(lambda task: task.device == "any")) == {"mid"}


def test_a_run_that_resumes_knows_its_boards(
    plan_of: Callable[[str], Plan], tmp_path: Path
) -> None:
    """By what is committed: the slow one gets none of few tasks that are left."""
    plan = plan_of(EXITS.replace("DEVICES", "board"))
    plan = replace(plan, cells=tuple(replace(cell, images=20_000) for cell in plan.cells))
    row = storage.RunRow(run_id="r", name="boards")
    first, then = (Speeds({"slow": SLOW, "fast": FAST}, capacity=1) for _ in range(2))
    with storage.RunStore.create(tmp_path / "r", row, queued_rows(plan, "r"), {}) as store:

        class StoppedError(Exception):
            pass

        def wait(timeout_s: float | None = None) -> tuple[Task, Outcome] | None:
            if len(first.done) == 18:
                raise StoppedError
            return Speeds.wait(first, timeout_s)

        first.wait = wait
        with pytest.raises(StoppedError):
            Driver(store, plan, first, clock=lambda: first.now_s).run()
        assert Driver(store, plan, then, clock=lambda: then.now_s).run()
    assert {host for _, host in first.done} == {"slow", "fast"}
    assert {host for _, host in then.done} == {"fast"}
