"""The order of tasks: passes first, timed shards as ABBA, what was added after all of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from jobs.plan.cell import Later
from jobs.plan.order import CellBlock, make_blocks
from jobs.plan.plan import Plan
from jobs.plan.task import Task

Plans = Callable[[str], Plan]

TWO = (
    "models: [flat.safetensors, dynn.safetensors]\nmeasure: [latency]\n"
    "datasets: [{name: digits, split: train, limit: 1200}]\n"
)


def one_queue(plan: Plan, done: frozenset[tuple[str, int, int]] = frozenset()) -> list[Task]:
    """All tasks of a plan that one host does."""
    queue = make_blocks(plan, by_device=False)[0].tasks("r", done)
    return list(queue)


def shown(tasks: list[Task]) -> list[tuple[str, int, int, int | None]]:
    """Each by model, round, shard and position."""
    return [(task.model, task.round, task.shard.number, task.position) for task in tasks]


def test_cells_take_turns_forth_and_back(plan_of: Plans) -> None:
    """Two shards of three rounds: A B, B A, A B, ...; whatever drifts falls on both alike."""
    tasks = one_queue(plan_of(TWO + "latency: {rounds: 3, images: 1200}\n"))
    turns = [(number, shard) for number in range(3) for shard in range(2)]
    names = ("flat", "dynn", "dynn", "flat") * 3
    expected = [(name, *turns[place // 2], place) for place, name in enumerate(names)]
    assert shown(tasks) == expected
    mean = {
        name: sum(task.position or 0 for task in tasks if task.model == name) / 6
        for name in ("flat", "dynn")
    }
    assert mean["flat"] == mean["dynn"] == 5.5


def test_three_cells_take_turns_after_their_passes(plan_of: Plans) -> None:
    """A drift of the machine falls on all cells alike: A B C, C B A, shard by shard."""
    plan = plan_of(
        "models: [flat.safetensors, distil.safetensors, dynn.safetensors]\n"
        "datasets: [{name: digits, split: train, limit: 1200}]\n"
        "latency: {rounds: 3, images: 1200}\nthresholds: [0.5]\n"
    )
    tasks = one_queue(plan)
    assert [task.kind for task in tasks] == ["exits"] * 6 + ["latency"] * 18
    forth = ["flat", "distil", "dynn"]
    timed = [(task.model, task.round, task.shard.number) for task in tasks[6:]]
    assert timed == [
        (name, number, shard)
        for number in range(3)
        for shard, names in enumerate((forth, forth[::-1]))
        for name in names
    ]
    assert [task.position for task in tasks] == [None] * 6 + list(range(18))
    half = frozenset(task.key for task in tasks[:10])
    rest = one_queue(plan, half)
    assert [task.position for task in rest] == list(range(4, 18)), "a resume counts on"


def test_an_odd_number_of_shards_alternates_too(plan_of: Plans) -> None:
    """From round to round: the last of one round is the first of the next."""
    tasks = one_queue(plan_of(TWO + "latency: {rounds: 3, images: 50}\n"))
    assert [task.model for task in tasks] == ["flat", "dynn", "dynn", "flat", "flat", "dynn"]


def test_passes_without_a_clock_come_first(plan_of: Plans) -> None:
    """Cell by cell, shard by shard, and have no position."""
    text = TWO.replace("[latency]", "[accuracy, latency]")
    tasks = one_queue(plan_of(text + "latency: {rounds: 1, images: 9}\nthresholds: [0.5]\n"))
    assert [task.kind for task in tasks] == ["exits"] * 4 + ["latency"] * 2
    assert shown(tasks)[:4] == [
        (name, 0, shard, None) for name in ("flat", "dynn") for shard in range(2)
    ]
    assert [task.position for task in tasks[4:]] == [0, 1]


def test_what_is_done_is_left_out_and_keeps_its_place(plan_of: Plans) -> None:
    """A resume counts on: of passes and of what was timed."""
    plan = plan_of(TWO.replace("[latency]", "[accuracy, latency]") + "latency: {rounds: 2}\n")
    tasks = one_queue(plan)
    done = frozenset(task.key for task in tasks[::2])
    assert one_queue(plan, done) == tasks[1::2]


def added(plan: Plan, *later: dict[str, tuple[int, int]]) -> Plan:
    """The plan with what was added to it, by model."""
    ids = {cell.model.name: cell.cell_id for cell in plan.cells if cell.is_timed}
    return replace(
        plan,
        later=tuple(
            Later(f"2026-01-0{day} 00:00:00", {ids[name]: span for name, span in each.items()})
            for day, each in enumerate(later, 1)
        ),
    )


def test_rounds_that_were_added_come_after_all_others(plan_of: Plans) -> None:
    """Of each addition those that it added; turns begin anew, positions go on."""
    plan = plan_of(TWO + "latency: {rounds: 4, images: 50}\n")
    plan = added(plan, {"flat": (2, 3), "dynn": (1, 3)}, {"flat": (3, 4), "dynn": (3, 4)})
    assert shown(one_queue(plan)) == [
        ("flat", 0, 0, 0),
        ("dynn", 0, 0, 1),
        ("flat", 1, 0, 2),
        ("dynn", 1, 0, 3),
        ("flat", 2, 0, 4),
        ("dynn", 2, 0, 5),
        ("dynn", 3, 0, 6),
        ("flat", 3, 0, 7),
    ]


def test_a_cell_that_was_added_comes_after_all_others(plan_of: Plans) -> None:
    """All of its rounds; the others have none of that stage."""
    plan = added(plan_of(TWO + "latency: {rounds: 2, images: 50}\n"), {"dynn": (0, 2)})
    assert shown(one_queue(plan)) == [
        ("flat", 0, 0, 0),
        ("flat", 1, 0, 1),
        ("dynn", 0, 0, 2),
        ("dynn", 1, 0, 3),
    ]


def test_what_was_added_to_other_cells_is_nothing(plan_of: Plans) -> None:
    """Cells of another block, or of a plan before."""
    plan = plan_of(TWO + "latency: {rounds: 2, images: 50}\n")
    later = (Later("2026-01-01 00:00:00", {"another": (0, 9)}),)
    assert one_queue(replace(plan, later=later)) == one_queue(plan)


def test_a_cell_with_fewer_shards_or_rounds_ends_early(plan_of: Plans) -> None:
    """A profile is one shard of one round; the others go on without it."""
    text = TWO.replace("[latency]", "[latency, profile]").replace(", dynn.safetensors", "")
    tasks = one_queue(plan_of(text + "latency: {rounds: 2, images: 1200}\n"))
    assert [(task.kind, task.round, task.shard.number) for task in tasks] == [
        ("latency", 0, 0),
        ("profile", 0, 0),
        ("latency", 0, 1),
        ("latency", 1, 0),
        ("latency", 1, 1),
    ]
    assert [task.position for task in tasks] == list(range(5))


def test_nothing_to_do(plan_of: Plans) -> None:
    """A block without cells has no tasks."""
    assert list(CellBlock(None, None, ()).tasks("r", ())) == []
    plan = plan_of(TWO + "latency: {rounds: 1, images: 9}\n")
    assert one_queue(plan, frozenset(task.key for task in one_queue(plan))) == []


def test_blocks(plan_of: Plans) -> None:
    """Passes of a device, which its machines share; timed cells of a device and data set."""
    text = TWO.replace("[latency]", "[accuracy, latency]").replace(
        "[{", "[{name: digits, limit: 30}, {"
    )
    plan = plan_of(text + "devices: [any, jetson]\nlatency: {rounds: 1, images: 9}\n")
    plan = added(plan, {"dynn": (0, 1)})
    (whole,) = make_blocks(plan, by_device=False)
    assert (whole.device, whole.dataset) == (None, None)
    assert (whole.cells, whole.later) == (plan.runnable, plan.later)
    found = make_blocks(plan, by_device=True)
    names = ("digits/test@30", "digits/train@1200")
    assert [(block.device, block.dataset) for block in found] == [
        ("any", None),
        ("jetson", None),
        *((device, name) for name in names for device in ("any", "jetson")),
    ]
    for block in found:
        assert block.is_timed is (block.dataset is not None)
        assert block.later == (plan.later if block.is_timed else ())
        for cell in block.cells:
            assert cell.is_timed is block.is_timed
            assert cell.setting.device == block.device
            assert block.dataset in (None, cell.dataset.label)
        assert list(block.cells) == [cell for cell in plan.runnable if cell in block.cells]
    assert sum(len(block.cells) for block in found) == len(plan.runnable)
    (bound,) = (block for block in found if block.is_immovable)
    assert {cell.cell_id for cell in bound.cells} >= set(plan.later[0].rounds)
    queues = [block.tasks("r", ()) for block in make_blocks(plan, by_device=True)]
    assert [list(queue) for queue in queues] == [
        list(block.tasks("r", frozenset())) for block in found
    ]


def test_skipped_cells_are_in_no_block(plan_of: Plans) -> None:
    """They are decided before anything runs."""
    text = TWO.replace("[latency]", "[accuracy, profile]")
    plan = plan_of(text + "devices: [cpu]\nruntimes: [torch, onnx]\n")
    assert any(cell.skipped for cell in plan.cells)
    for by_device in (False, True):
        cells = [cell for block in make_blocks(plan, by_device=by_device) for cell in block.cells]
        assert {cell.cell_id for cell in cells} == {
            cell.cell_id for cell in plan.cells if not cell.skipped
        }


@pytest.mark.parametrize("kind", ["exits", "latency"])
def test_a_task_is_its_cells(kind: str, plan_of: Plans) -> None:
    """Whatever a worker must know is taken from the cell, each thing to its place."""
    plan = plan_of(
        TWO.replace("[latency]", "[accuracy, latency, energy]")
        + "thresholds: [0.25]\nthreads: [3]\nbatch_sizes: {latency: 1, accuracy: 7}\n"
        "latency: {rounds: 1, images: 9, warmup_images: 5}\nenergy: {idle_s: 2.5}\n"
    )
    cell = next(c for c in plan.cells if c.kind == kind and c.model.name == "dynn")
    task = next(task for task in one_queue(plan) if task.cell_id == cell.cell_id)
    expected = {
        "run_id": "r",
        "cell_id": cell.cell_id,
        "round": 0,
        "shard": cell.shards[0],
        "kind": kind,
        "model": "dynn",
        "dataset": cell.dataset.label,
        "checkpoint_sha256": cell.model.sha256,
        "dataset_sha256": cell.dataset.images.sha256,
        "exit_blocks": (1, 3),
        "thresholds": (0.25, 0.25) if kind == "latency" else (),
        "device": "any",
        "runtime": "torch",
        "precision": "float32",
        "threads": 3 if kind == "latency" else cell.setting.threads,
        "batch_size": 1 if kind == "latency" else 7,
        "warmup_images": 5 if kind == "latency" else 0,
        "energy": cell.energy,
    }
    assert {name: getattr(task, name) for name in expected} == expected
    assert (task.energy is None) is (kind == "exits")
