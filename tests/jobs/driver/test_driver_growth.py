"""The driver's work per task, counted in function calls: a larger run costs no more per task."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any, cast

import pytest
from rich.console import Console
from support.driving import Scripted

import jobs
import storage
from jobs.driver.cell_states import queued_rows
from jobs.driver.driver import Driver
from jobs.machine.slots import Host, Slot
from jobs.plan.plan import Plan
from jobs.plan.task import Outcome, Task
from jobs.runs.progress import Progress

GRID = """\
name: growth
models: [dynn.safetensors]
datasets: [{name: digits, limit: 1}]
devices: [cpu, jetson]
measure: [MEASURE]
thresholds: [THRESHOLDS]
latency: {rounds: ROUNDS}
"""
OURS = str(Path(jobs.__file__).parent)
GROWTH = 4
SLACK = 1.05
"""What is done once a run makes the ratio smaller; this is for lines of progress that differ."""


class Memory:
    """A run's store that keeps entries alone, and counts those that are read."""

    def __init__(self, plan: Plan) -> None:
        self.run = storage.RunRow(run_id="r", name="growth")
        self.cells: Sequence[storage.CellRow] = queued_rows(plan, "r")
        self.nodes: Sequence[storage.NodeRow] = ()
        self.read = 0
        self._entries: dict[tuple[str, int, int], storage.CommitEntry] = {}

    def entries(self) -> tuple[storage.CommitEntry, ...]:
        """What is committed."""
        self.read += len(self._entries)
        return tuple(self._entries.values())

    def throttled_rounds(self) -> frozenset[tuple[str, int]]:
        """None."""
        return frozenset()

    def unanswered_images(self) -> Mapping[tuple[str, int], int]:
        """None."""
        return {}

    def commit_group(
        self, shards: Sequence[tuple[storage.CommitEntry, Mapping[str, Any]]]
    ) -> list[bool]:
        """Keep entries."""
        for entry, _ in shards:
            assert entry.key not in self._entries
            self._entries[entry.key] = entry
        return [True] * len(shards)

    def save_cells(self, cells: Sequence[storage.CellRow]) -> None:
        """Keep cells."""
        self.cells = cells

    def save_nodes(self, nodes: Sequence[storage.NodeRow]) -> None:
        """Keep nodes."""
        self.nodes = nodes


class Boards(Scripted):
    """Two boards of each device, of which one fails its first timed task."""

    is_one_host = False

    def __init__(self, *, has_fault: bool) -> None:
        super().__init__()
        self.slots: dict[Task, Slot] = {}
        self.has_fault = has_fault

    def hosts(self) -> list[Host]:
        """All of them."""
        return [
            Host(f"{device}-{number}", 2, {device: 1}, is_here=False)
            for device in ("cpu", "jetson")
            for number in (1, 2)
        ]

    def submit(self, task: Task, slot: Slot) -> None:
        """Take a task."""
        self.tasks.append(task)
        self.slots[task] = slot

    def wait(self, timeout_s: float | None = None) -> tuple[Task, Outcome]:  # noqa: ARG002
        """Answer the oldest."""
        task = self.tasks.popleft()
        slot = self.slots.pop(task)
        if self.has_fault and task.is_timed:
            self.has_fault = False
            return task, Outcome({}, None, error="RuntimeError: broken")
        node = storage.NodeRow(run_id="r", node=slot.host, device=slot.device)
        return task, Outcome({}, node, images=1, busy_s=0.5)


def calls(plan: Plan, monkeypatch: pytest.MonkeyPatch, *, has_fault: bool) -> tuple[int, int]:
    """Tasks of a run, and the calls of functions of ours that driving it takes."""
    tasks = sum(cell.rounds * len(cell.shards) for cell in plan.cells)
    counted = 0

    def count(frame: FrameType, event: str, _: object) -> None:
        nonlocal counted
        counted += event == "call" and frame.f_code.co_filename.startswith(OURS)

    store = Memory(plan)
    console = Console(file=io.StringIO(), force_terminal=True, width=80)
    with Progress(plan, frozenset(), console) as progress:
        monkeypatch.setattr(progress._live, "refresh", lambda: None)  # rich draws, which takes long
        driver = Driver(
            cast("storage.RunStore", store),
            plan,
            Boards(has_fault=has_fault),
            progress,
        )
        before = sys.getprofile()
        sys.setprofile(count)
        try:
            assert driver.run() != has_fault
        finally:
            sys.setprofile(before)
    assert store.read == 0, "nothing was committed when the driver began, the one time it asks"
    return tasks, counted


def by_rounds(plan_of: Callable[[str], Plan], size: int) -> Plan:
    """Each cell has more rounds."""
    text = GRID.replace("MEASURE", "latency").replace("THRESHOLDS", "0.2, 0.8")
    return plan_of(text.replace("ROUNDS", str(15 * size)))


def by_cells(plan_of: Callable[[str], Plan], size: int) -> Plan:
    """There are more cells."""
    count = 15 * size
    numbers = ", ".join(str((number + 1) / (count + 1)) for number in range(count))
    text = GRID.replace("MEASURE", "latency").replace("THRESHOLDS", numbers)
    return plan_of(text.replace("ROUNDS", "2"))


def by_shards(plan_of: Callable[[str], Plan], size: int) -> Plan:
    """Each round has more images, with a clock and without."""
    text = GRID.replace("MEASURE", "accuracy, latency").replace("THRESHOLDS", "0.2, 0.8")
    plan = plan_of(text.replace("ROUNDS", "2"))
    cells = [replace(cell, images=10_000 * size) for cell in plan.cells]
    return replace(plan, cells=tuple(cells))


@pytest.mark.parametrize("has_fault", [False, True], ids=["", "fault"])
@pytest.mark.parametrize("sized", [by_rounds, by_cells, by_shards])
def test_a_larger_run_costs_no_more_per_task(
    sized: Callable[..., Plan],
    plan_of: Callable[[str], Plan],
    monkeypatch: pytest.MonkeyPatch,
    *,
    has_fault: bool,
) -> None:
    """By rounds, by cells and by images; also while it is open whose fault a failure was."""
    monkeypatch.setattr("jobs.driver.driver.SAVE_INTERVAL_S", 1e9)  # by the clock, not by tasks
    monkeypatch.setattr("jobs.driver.commit_pace.MAX_LINGER_S", 0.0)  # likewise
    few, of_few = calls(sized(plan_of, 1), monkeypatch, has_fault=has_fault)
    many, of_many = calls(sized(plan_of, GROWTH), monkeypatch, has_fault=has_fault)
    assert many == GROWTH * few >= 200
    assert of_many / of_few < GROWTH * SLACK
