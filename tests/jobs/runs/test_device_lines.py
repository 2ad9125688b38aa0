"""What each device runs now, with a clock that ticks by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from jobs.machine.slots import Slot
from jobs.plan.order import make_blocks
from jobs.plan.plan import Plan
from jobs.plan.task import Task
from jobs.runs.device_lines import LINGER_S, DeviceLines

GRID = """\
models: [flat.safetensors]
datasets: [{name: digits, split: train, limit: 1000}]
latency: {rounds: 2, images: 500}
"""
BOARD, GPU, SECOND = Slot("board", "orin-nano"), Slot("box", "cuda"), Slot("box", "cuda", 1)


class Devices:
    """The lines of GRID, and its tasks: the exits, and two rounds under the clock."""

    def __init__(self, plan: Plan) -> None:
        self.now_s = 100.0
        self.view = DeviceLines(plan, frozenset(), lambda task: task.kind, lambda: self.now_s)
        queue = make_blocks(plan, by_device=False)[0].tasks("r", frozenset())
        self.exits, self.first, self.second, *_ = queue

    def lines(self, width: int = 80, most: int = 20) -> list[str]:
        """The lines now."""
        return self.view.lines(width, most)

    def run(self, task: Task, slot: Slot) -> None:
        """A task begins, and comes back."""
        self.view.begin(task, slot)
        self.view.end(task)


@pytest.fixture
def devices(plan_of: Callable[[str], Plan]) -> Devices:
    """None of which runs anything yet."""
    return Devices(plan_of(GRID))


def test_a_line_per_device_by_name(devices: Devices) -> None:
    """In one order whichever begins first, with the progress of the cell."""
    devices.run(devices.first, BOARD)
    devices.view.count(devices.first, 500)
    devices.view.begin(devices.exits, SECOND)
    devices.view.begin(devices.second, BOARD)
    assert devices.lines() == [
        "board/orin-nano  latency, 500/1,000 images",
        "box/cuda 1       exits, preparing the model",
    ]


def test_the_line_of_a_device_stays_between_two_tasks(devices: Devices) -> None:
    """The view does not jump with every task; a device that gets none loses its line."""
    devices.run(devices.first, BOARD)
    assert devices.lines() == ["board/orin-nano  latency, 0/1,000 images"]
    devices.now_s += LINGER_S
    assert devices.lines() == []


def test_two_tasks_on_one_device(devices: Devices) -> None:
    """Two cells have a line each, two tasks of a cell one."""
    for task in (devices.first, devices.second, devices.exits):
        devices.view.begin(task, GPU)
    assert devices.lines() == [
        "box/cuda  latency, preparing the model",
        "box/cuda  exits, preparing the model",
    ]


def test_a_task_that_is_tried_again_elsewhere(devices: Devices) -> None:
    """Its first device has lost it."""
    devices.run(devices.first, BOARD)
    devices.view.begin(devices.first, GPU)
    devices.now_s += LINGER_S
    assert devices.lines() == ["box/cuda  latency, preparing the model"]


def test_what_must_be_done_again_is_not_done(devices: Devices) -> None:
    """A cell that starts anew counts from the beginning."""
    devices.run(devices.first, BOARD)
    devices.view.count(devices.first, 500)
    devices.view.count(devices.first, -500)
    assert devices.lines() == ["board/orin-nano  latency, 0/1,000 images"]


def test_as_many_lines_as_fit(devices: Devices) -> None:
    """The last one counts the others, and a long one is cut."""
    for number in range(5):
        devices.view.begin(replace(devices.exits, round=number), Slot("box", "cuda", number))
    assert devices.lines(24, most=3) == [
        "box/cuda    exits, prep…",
        "box/cuda 1  exits, prep…",
        "and 3 more",
    ]
    assert len(devices.lines(80, most=5)) == 5
