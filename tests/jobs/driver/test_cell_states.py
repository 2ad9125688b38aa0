"""What has become of each cell."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from support.driving import GRID, Run, Scripted, rows_of

import storage
from gfnet.costs import count_exit_costs
from jobs.driver import cell_states as statess
from jobs.driver.cell_states import CellStates, queued_rows
from jobs.grid.models import CheckpointModel
from jobs.plan.cell import PROTOCOL_VERSION, Cell, Later
from jobs.plan.order import make_blocks
from jobs.plan.plan import Plan
from jobs.plan.task import Outcome, Task


def test_notes_survive_a_resume(run: Run) -> None:
    """An image that could not be decoded stays named on its cell, once."""

    def answer(task: Task) -> Outcome:
        undecoded = ("a.png not decoded", "b.png not decoded") if task.model == "flat" else ()
        note = f"round {task.round}" if undecoded else ""
        return replace(rows_of(task), note=note, undecoded=undecoded)

    run.drive(Scripted(answer))
    rows = CellStates(run.plan, run.store.cells, run.store.entries()).rows
    notes = {(row.kind, row.model): row.note for row in rows}
    said = "a.png not decoded; b.png not decoded; round 0; round 1"
    assert notes["latency", "flat"] == said
    assert notes["latency", "dynn"] is None
    assert {row.status for row in rows} == {"done"}


def test_a_pair_without_a_common_class_name_is_noted(run: Run) -> None:
    """On each cell that has an accuracy, also after a resume: it may be one by chance."""
    cells = run.plan.cells
    known = tuple(f"animal {number}" for number in range(10))
    model = replace(cells[0].model, metadata=replace(cells[0].model.metadata, class_names=known))
    foreign = replace(run.plan, cells=tuple(replace(cell, model=model) for cell in cells))
    entries = [
        storage.CommitEntry(cell_id=key[0], round=key[1], shard=key[2], rows=images)
        for cell in foreign.cells
        for key, images in cell.task_keys()
    ]
    rows = CellStates(foreign, queued_rows(foreign, "r"), entries).rows
    assert {"no class name of digits (0, ...)" in (row.note or "") for row in rows} == {True}


def test_a_cell_of_nothing_but_broken_images_fails(run: Run) -> None:
    """No rows are no result."""
    empty = Outcome({}, None, images=0, undecoded=("a.png not decoded",))
    assert not run.drive(Scripted(lambda task: empty if task.model == "flat" else rows_of(task)))
    failed = [cell for cell in run.store.cells if cell.model == "flat"]
    assert {(cell.status, cell.is_valid) for cell in failed} == {("failed", False)}
    assert failed[0].error == "none of the 1100 images could be evaluated"
    assert failed[0].note == "a.png not decoded"
    assert failed[0].finished_at


@pytest.mark.parametrize("rounds", [1, 2, 3])
def test_a_cell_is_valid_once_all_its_rounds_are_done(
    rounds: int, plan_of: Callable[[str], Plan]
) -> None:
    """Also the one round that was asked for; a part is not."""
    plan = plan_of(GRID.replace("rounds: 2", f"rounds: {rounds}"))
    entries = [
        storage.CommitEntry(cell_id=key[0], round=key[1], shard=key[2], rows=images)
        for cell in plan.cells
        for key, images in cell.task_keys()
    ]
    rows = CellStates(plan, queued_rows(plan, "r"), entries).rows
    assert {row.is_valid for row in rows} == {True}
    part = CellStates(plan, queued_rows(plan, "r"), entries[:-1]).rows
    assert part[-1].status == "queued"
    assert part[-1].is_valid is None


def _with_losses(task: Task, losses: dict[tuple[str, int], list[float]]) -> Outcome:
    """A task's rows where images of a model in a round, its first ones, have such losses."""
    outcome = rows_of(task)
    (name, table), *_ = outcome.tables.items()
    given = losses.get((task.model, task.round), []) if not task.shard.number else []
    columns = {key: table[key] for key in table.column_names if key != "loss"}
    loss = (given + [0.5] * len(table))[: len(table)]
    return replace(outcome, tables={name: storage.build_table(name, columns | {"loss": loss})})


NOT_FINITE = {("dynn", 0): [math.nan], ("flat", 0): [math.inf], ("flat", 1): [math.nan, math.nan]}


def test_images_without_finite_logits_make_a_cell_invalid(run: Run) -> None:
    """It says how many, as its worst round has it; also after a resume, and counted once."""
    run.drive(Scripted(lambda task: _with_losses(task, NOT_FINITE)))
    again = CellStates(
        run.plan,
        run.store.cells,
        run.store.entries(),
        unanswered=run.store.unanswered_images(),
    )
    for rows in (run.store.cells, again.rows):
        assert {(row.kind, row.model): (row.is_valid, row.note) for row in rows} == {
            ("exits", "flat"): (False, "1 of 1100 images has logits that are not finite"),
            ("exits", "dynn"): (False, "1 of 1100 images has logits that are not finite"),
            ("latency", "flat"): (False, "2 of 1100 images have logits that are not finite"),
            ("latency", "dynn"): (False, "1 of 1100 images has logits that are not finite"),
        }
        assert {row.status for row in rows} == {"done"}


def test_images_without_finite_logits_add_up_over_the_tasks_of_a_round(run: Run) -> None:
    """Its shards are tasks of their own."""
    cell_id = run.plan.cells[0].cell_id
    states = CellStates(run.plan, queued_rows(run.plan, "r"), ())
    first, second = _tasks(run, cell_id)
    for task, losses in ((first, [math.nan] * 3), (second, [math.inf] * 2)):
        outcome = _with_losses(replace(task, shard=first.shard), {(task.model, task.round): losses})
        states.commit(task, outcome)
    (row,) = (row for row in states.rows if row.cell_id == cell_id)
    assert row.note == "5 of 1100 images have logits that are not finite"


def test_a_cell_that_starts_anew_forgets_what_it_could_not_answer(run: Run) -> None:
    """What was dropped of it says nothing of what comes."""
    cells = run.plan.cells
    key = (cells[0].cell_id, 0)
    states = CellStates(run.plan, queued_rows(run.plan, "r"), (), unanswered={key: 3})
    states.restart([cells[0].cell_id])
    for task in _tasks(run, cells[0].cell_id):
        states.commit(task, rows_of(task))
    (row,) = (row for row in states.rows if row.cell_id == cells[0].cell_id)
    assert (row.is_valid, row.note) == (True, None)


def _tasks(run: Run, cell_id: str) -> list[Task]:
    queue = make_blocks(run.plan, by_device=False)[0].tasks("r", frozenset())
    return [task for task in queue if task.cell_id == cell_id]


SMALL = (
    "models: [flat.safetensors, dynn.safetensors]\nthresholds: [0.5]\ndevices: [any, jetson]\n"
    "datasets: [{name: digits, limit: 20}]\nlatency: {rounds: 3, images: 20}\n"
)


class Book:
    """The cell states of a small plan, by kind, model and device."""

    def __init__(self, plan: Plan, rows: list[storage.CellRow] | None = None, **more: Any) -> None:
        self.plan = plan
        rows = queued_rows(plan, "r") if rows is None else rows
        self.states = CellStates(plan, rows, more.pop("entries", ()), **more)

    def cell(self, kind: str, model: str, device: str = "any") -> Cell:
        """One of its cells."""
        return next(
            cell
            for cell in self.plan.cells
            if (cell.kind, cell.model.name, cell.setting.device) == (kind, model, device)
        )

    def row(self, *names: str) -> storage.CellRow:
        """The row of a cell."""
        cell_id = self.cell(*names).cell_id
        return next(row for row in self.states.rows if row.cell_id == cell_id)

    def tasks(self, *names: str) -> list[Task]:
        """The tasks of a cell, round by round."""
        queue = make_blocks(self.plan, by_device=False)[0].tasks("r", frozenset())
        cell_id = self.cell(*names).cell_id
        return [task for task in queue if task.cell_id == cell_id]


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> list[datetime]:
    """The time, which goes on by a second at each look."""
    first = datetime(2026, 11, 24, 12)  # noqa: DTZ001 (naive UTC throughout)
    times = [first + timedelta(seconds=second) for second in range(50)]
    clock = iter(times)
    monkeypatch.setattr(statess, "now", lambda: next(clock))
    return times


def test_a_row_of_a_cell_that_waits(plan_of: Callable[[str], Plan]) -> None:
    """All that the plan says of it, each thing in its column."""
    book = Book(plan_of(SMALL + "batch_sizes: {latency: 1, accuracy: 8}\n"))
    for position, cell in enumerate(book.plan.cells):
        row = queued_rows(book.plan, "r")[position]
        expected = {
            "run_id": "r",
            "cell_id": cell.cell_id,
            "position": position,
            "kind": cell.kind,
            "model": cell.model.name,
            "checkpoint_sha256": cell.model.sha256,
            "params": cell.model.config.parameters(),
            "depth": cell.model.config.depth,
            "exit_blocks": cell.model.config.exit_blocks,
            "dataset": "digits",
            "dataset_sha256": cell.dataset.images.sha256,
            "device": cell.setting.device,
            "node": None,
            "runtime": "torch",
            "precision": "float32",
            "threads": cell.setting.threads,
            "batch_size": 8 if cell.kind == "exits" else 1,
            "threshold": cell.threshold,
            "thresholds": cell.thresholds or None,
            "images": 20,
            "rounds": cell.rounds,
            "warmup_images": cell.warmup_images or None,
            "status": "queued",
            "note": None,
            "error": None,
            "is_valid": None,
            "protocol": PROTOCOL_VERSION,
        }
        assert {name: getattr(row, name) for name in expected} == expected
    assert book.row("latency", "dynn").thresholds == (0.5, 0.5)


def test_the_life_of_a_cell(plan_of: Callable[[str], Plan], at: list[datetime]) -> None:
    """Queued, running, lost once, done: how often, since when, until when, and how many rows."""
    book = Book(plan_of(SMALL))
    first, *others = book.tasks("latency", "dynn")
    assert not book.states.is_over(first.cell_id)
    book.states.start(first)
    row = book.row("latency", "dynn")
    assert (row.status, row.attempts, row.started_at) == ("running", 1, at[0])
    book.states.start(first)
    book.states.retry(first)
    row = book.row("latency", "dynn")
    assert (row.status, row.attempts, row.started_at) == ("running", 2, at[0])
    for task in (first, *others):
        assert book.row("latency", "dynn").finished_at is None
        assert not book.states.is_over(first.cell_id)
        book.states.start(task)
        book.states.commit(task, rows_of(task))
    row = book.row("latency", "dynn")
    assert (row.status, row.is_valid, row.note, row.error) == ("done", True, None, None)
    assert (row.rows, row.attempts, row.finished_at) == (60, 2, at[1])
    assert (row.node, row.device) == ("n", "cpu")
    assert book.states.is_over(first.cell_id)
    assert book.states.committed([first.cell_id]) == 3
    assert book.states.committed(cell.cell_id for cell in book.plan.cells) == 3
    (task,) = book.tasks("exits", "dynn")
    book.states.commit(task, rows_of(task))
    assert book.row("exits", "dynn").rows == 60, "three exits an image"
    assert book.states.has_run_on("n", [task.cell_id])
    assert not book.states.has_run_on("m", [task.cell_id])
    assert not book.states.has_run_on("n", [book.cell("exits", "flat").cell_id])


def test_what_any_turned_out_to_be(plan_of: Callable[[str], Plan]) -> None:
    """The first that runs says it for all that asked alike; where one ran stays as it was."""
    book = Book(plan_of(SMALL))
    (task,) = book.tasks("exits", "dynn")
    book.states.commit(task, rows_of(task))
    (flat,) = book.tasks("exits", "flat")
    other = storage.NodeRow("r", "m", "cuda")
    book.states.commit(flat, replace(rows_of(flat), node=other))
    asked = {cell.cell_id: cell.setting.device for cell in book.plan.cells}
    found = {row.cell_id: (row.node, row.device) for row in book.states.rows}
    for cell_id, place in found.items():
        if cell_id == task.cell_id:
            assert place == ("n", "cpu")
        elif cell_id == flat.cell_id:
            assert place == ("m", "cuda")
        else:
            assert place == (None, "cpu" if asked[cell_id] == "any" else "jetson")


def test_a_worker_without_a_node(plan_of: Callable[[str], Plan]) -> None:
    """Its rows count; where they were made is not known."""
    book = Book(plan_of(SMALL))
    (task,) = book.tasks("exits", "flat")
    book.states.commit(task, replace(rows_of(task), node=None))
    row = book.row("exits", "flat")
    assert (row.status, row.node, row.device) == ("done", None, "any")
    assert not book.states.has_run_on("n", [task.cell_id])


def test_failed_and_skipped(plan_of: Callable[[str], Plan], at: list[datetime]) -> None:
    """Each with its reason, and over."""
    book = Book(plan_of(SMALL))
    task = book.tasks("latency", "flat")[0]
    book.states.fail(task.cell_id, "it broke")
    row = book.row("latency", "flat")
    assert (row.status, row.error, row.is_valid) == ("failed", "it broke", False)
    assert (row.finished_at, row.note) == (at[0], None)
    assert book.states.is_over(task.cell_id)
    (task,) = book.tasks("exits", "flat")
    book.states.skip(task, "no such engine")
    row = book.row("exits", "flat")
    assert (row.status, row.note, row.finished_at) == ("skipped", "no such engine", at[1])
    assert row.error is None
    assert book.states.is_over(task.cell_id)


def throttled(task: Task, *flags: bool | None) -> Outcome:
    """Its rows, and whether each round was throttled."""
    outcome = rows_of(task)
    rounds = storage.build_table(
        "rounds",
        {
            "run_id": "r",
            "cell_id": task.cell_id,
            "round": task.round,
            "is_throttled": list(flags),
        },
    )
    return replace(outcome, tables={**outcome.tables, "rounds": rounds})


@pytest.mark.parametrize(
    ("bad", "is_valid", "note"),
    [
        ([], True, None),
        ([1], True, "throttled: 1 of 3 rounds"),
        ([0, 2], False, "throttled: 2 of 3 rounds"),
    ],
)
def test_rounds_that_a_throttled_machine_spoilt(
    bad: list[int], note: str | None, plan_of: Callable[[str], Plan], *, is_valid: bool
) -> None:
    """Two others must be left; also where a resume learns of them from what is committed."""
    book = Book(plan_of(SMALL))
    tasks = book.tasks("latency", "flat")
    for task in tasks:
        flags = (False, True) if task.round in bad else (False, None)
        book.states.commit(task, throttled(task, *flags))
    row = book.row("latency", "flat")
    assert (row.status, row.is_valid, row.note) == ("done", is_valid, note)
    entries = [storage.CommitEntry(*task.key, node="n", rows=20) for task in tasks]
    again = Book(
        book.plan, entries=entries, throttled=[(tasks[0].cell_id, number) for number in bad]
    )
    row = again.row("latency", "flat")
    assert (row.status, row.is_valid, row.note) == ("done", is_valid, note)


def test_a_pass_needs_no_two_rounds(plan_of: Callable[[str], Plan]) -> None:
    """Its one round has no clock; one that was throttled says so of a cell that is not valid."""
    book = Book(plan_of(SMALL))
    (task,) = book.tasks("exits", "flat")
    book.states.commit(task, rows_of(task))
    assert book.row("exits", "flat").is_valid is True
    plan = plan_of(SMALL.replace("rounds: 3", "rounds: 1"))
    book = Book(plan)
    (task,) = book.tasks("latency", "flat")
    book.states.commit(task, throttled(task, True))
    row = book.row("latency", "flat")
    assert (row.is_valid, row.note) == (False, "throttled: 1 of 1 rounds")


def test_notes_of_tasks_are_joined(plan_of: Callable[[str], Plan]) -> None:
    """Each once, in order, then what the rounds come to."""
    book = Book(plan_of(SMALL))
    for task, note in zip(book.tasks("latency", "flat"), ("b", "a", "b"), strict=True):
        outcome = throttled(task, not task.round)
        book.states.commit(task, replace(outcome, note=note))
    assert book.row("latency", "flat").note == "a; b; throttled: 1 of 3 rounds"


def test_a_cell_that_was_added_says_so(plan_of: Callable[[str], Plan]) -> None:
    """Before all other notes."""
    plan = plan_of(SMALL)
    cell = Book(plan).cell("latency", "dynn")
    later = Later("2026-01-02 03:04:05", {cell.cell_id: (0, 3)})
    book = Book(replace(plan, later=(later,)))
    for task in book.tasks("latency", "dynn"):
        book.states.commit(task, replace(rows_of(task), note="a note"))
    said = "timed after the rest of its run: added 2026-01-02 03:04:05 UTC; a note"
    assert book.row("latency", "dynn").note == said


def test_a_resume_goes_on_with_what_is_committed(plan_of: Callable[[str], Plan]) -> None:
    """Failed cells are queued again; where a cell ran is known from its commits."""
    plan = plan_of(SMALL)
    rows = [
        replace(
            row,
            status="failed",
            error="it broke",
            is_valid=False,
            rows=77,
            rounds=9,
            note="kept",
            attempts=0 if row.kind == "exits" else 4,
            finished_at=datetime(2026, 1, 1),  # noqa: DTZ001
        )
        for row in queued_rows(plan, "r")
    ]
    rows.append(replace(rows[0], cell_id="of before", status="done"))
    book = Book(plan)
    tasks = [*book.tasks("latency", "dynn", "jetson")[:2], *book.tasks("exits", "flat")]
    entries = [storage.CommitEntry(*task.key, node="n", rows=20, note="n") for task in tasks]
    entries.insert(1, storage.CommitEntry("of before", 0, 0, node="n", rows=5))
    nodes = [storage.NodeRow("r", "n", "cpu"), storage.NodeRow("r", "m", "other")]
    book = Book(plan, rows, entries=iter(entries), nodes=iter(nodes))
    timed, done = book.row("latency", "dynn", "jetson"), book.row("exits", "flat")
    assert (timed.status, timed.error, timed.is_valid) == ("queued", None, None)
    assert (timed.rows, timed.rounds, timed.note) == (40, 3, "n")
    # A device asked for by name, of a node that has another too.
    assert (timed.node, timed.device, timed.attempts) == ("n", "jetson", 4)
    assert (done.status, done.rows, done.attempts) == ("done", 20, 1)
    assert done.finished_at == rows[0].finished_at
    waiting = book.row("latency", "flat")
    assert (waiting.status, waiting.rows, waiting.note) == ("queued", 0, "kept")
    assert book.states.rows[-1] == rows[-1], "the plan has it no more"
    assert len(book.states.rows) == len(rows)
    assert book.states.committed([tasks[0].cell_id]) == 2
    unknown = Book(plan, entries=[storage.CommitEntry(*tasks[0].key, node="x", rows=20)])
    assert unknown.row("latency", "dynn", "jetson").node is None
    assert unknown.states.has_run_on("x", [tasks[0].cell_id])


def test_a_cell_that_starts_anew(plan_of: Callable[[str], Plan]) -> None:
    """Nothing of what was committed, noted or spoilt is left; one try more."""
    book = Book(plan_of(SMALL))
    tasks = book.tasks("latency", "flat")
    for task in tasks[:2]:
        book.states.start(task)
        book.states.commit(task, replace(throttled(task, True), note="bad"))
    book.states.restart([tasks[0].cell_id])
    row = book.row("latency", "flat")
    assert (row.status, row.rows, row.note, row.node) == ("queued", 0, None, None)
    assert (row.attempts, row.is_valid) == (2, None)
    assert not book.states.has_run_on("n", [tasks[0].cell_id])
    assert book.states.committed([tasks[0].cell_id]) == 0
    for task in tasks:
        assert book.row("latency", "flat").status == "queued"
        book.states.commit(task, rows_of(task))
    row = book.row("latency", "flat")
    assert (row.status, row.is_valid, row.note) == ("done", True, None)


def test_what_can_run_nowhere_is_skipped(plan_of: Callable[[str], Plan]) -> None:
    """From the start, with the reason; also where a resume finds it queued."""
    text = SMALL + "measure: [accuracy, profile]\nruntimes: [torch, onnx]\n"
    plan = plan_of(text.replace("[any, jetson]", "[cpu]"))
    rows = queued_rows(plan, "r")
    again = CellStates(plan, [replace(row, status="queued", note="old") for row in rows], ())
    skipped = 0
    for cell, row, renewed in zip(plan.cells, rows, again.rows, strict=True):
        skipped += bool(cell.skipped)
        assert (row.status, row.note) == ("skipped" if cell.skipped else "queued", cell.skipped)
        assert (renewed.status, renewed.note) == (row.status, cell.skipped or "old")
        assert again.is_over(cell.cell_id) == bool(cell.skipped)
    assert 0 < skipped < len(rows)


def test_costs_of_each_exit_are_those_of_its_engine(plan_of: Callable[[str], Plan]) -> None:
    """Eager float32 runs filters as an FFT, others as matrix products; older rows get them."""
    plan = plan_of(SMALL + "runtimes: [torch, onnx]\n")
    rows = queued_rows(plan, "r")
    older = [
        replace(row, checkpoint_bytes=None, exit_params=None, exit_multiply_adds=None)
        for row in rows
    ]
    assert CellStates(plan, older, ()).rows == rows
    for cell, row in zip(plan.cells, rows, strict=True):
        assert isinstance(cell.model, CheckpointModel)
        costs = count_exit_costs(cell.model.config, cell.model.exit_rule)
        assert row.checkpoint_bytes == cell.model.path.stat().st_size
        assert row.exit_params == tuple(cost.params for cost in costs)
        assert row.exit_multiply_adds == tuple(cost.multiply_adds for cost in costs)
        assert row.exit_executed_multiply_adds == (
            row.exit_multiply_adds
            if row.runtime == "torch"
            else tuple(cost.matrix_multiply_adds for cost in costs)
        )
    assert {row.runtime for row in rows} == {"torch", "onnx"}
