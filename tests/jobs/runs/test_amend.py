"""A grid that comes back to its run, in this process: what runs, what stays, what is refused."""

from __future__ import annotations

import io
import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from PIL import Image
from support.examples import is_many

import gfnet
import storage
from jobs.common.errors import UsageError
from jobs.driver.cell_states import CellStates
from jobs.plan.cell import Later, find_added
from jobs.plan.order import make_blocks
from jobs.plan.plan import Plan
from jobs.runs.submit import resume, submit
from jobs.runs.target import Target

INLINE = Target(is_inline=True)
TABLES = {
    "records": "* exclude (run_id, forward_ms, elapsed_ms, device_ms, started_at)",
    "exits": "* exclude (run_id)",
    "exit_costs": "* exclude (run_id, forward_ms)",
    "cells": "cell_id, position, kind, model, dataset, threshold, rounds, status, rows",
}


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    """Give the process its threads back: workers set them."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def rows(root: Path, table: str) -> list[tuple[object, ...]]:
    """All rows, timings aside, in one order."""
    found = storage.query(root, f"select {TABLES[table]} from {table} order by all")  # noqa: S608
    return [tuple(row.values()) for row in found.to_pylist()]


def text(**axes: object) -> str:
    """A grid that runs at once, with these keys in the place of others."""
    grid = {
        "name": "small",
        "models": ["flat.safetensors", "dynn.safetensors"],
        "datasets": [{"name": "digits", "limit": 5}],
        "thresholds": [0.5],
        "threads": [1],
        "latency": {"rounds": 1, "warmup_images": 3, "images": 4},
    }
    return json.dumps(grid | axes)  # JSON is YAML


def said_of(grid: Path, root: Path) -> list[str]:
    """What submitting it as the run `r` says."""
    said: list[str] = []
    assert submit(grid, root, INLINE, said.append, "r").is_done
    return said


def test_what_is_new_runs_and_is_named(write_grid: Callable, copy_of: Callable) -> None:
    """A threshold added to a finished run: one cell, timed later, which its note says."""
    root = copy_of(text())
    before = storage.query(root, "from commits order by all")
    said = said_of(write_grid(text(thresholds=[0.2, 0.5])), root)
    assert said == ["run r: 1 cell is new, 4 done before", "resuming r: 5 cells, 1 task to go"]
    after = storage.query(root, "from commits order by all").to_pylist()
    assert [row for row in after if row in before.to_pylist()] == before.to_pylist()
    assert len(after) == before.num_rows + 1
    cells = storage.query(root, "select threshold, note from cells where kind = 'latency'")
    notes = {row["threshold"]: row["note"] for row in cells.to_pylist()}
    assert notes[None] is None
    assert notes[0.5] is None
    assert "timed after the rest" in notes[float(np.float32(0.2))]
    assert "timed after the rest" in str(storage.query(root, "select note from ladder").to_pylist())
    positions = storage.query(root, "select position from rounds order by started_at")
    assert positions["position"].to_pylist() == [0, 1, 2]


def test_what_left_the_grid_is_left_alone(write_grid: Callable, copy_of: Callable) -> None:
    """Its rows stay, the run is done, and where it comes back nothing runs again."""
    root = copy_of(text())
    whole = {table: rows(root, table) for table in TABLES}
    said = said_of(write_grid(text(models=["dynn.safetensors"])), root)
    assert said == [
        "run r: 2 cells of the run are no longer in the grid and will not run; their rows are kept",
        "run r is done: nothing is missing",
    ]
    assert rows(root, "records") == whole["records"]
    said = said_of(write_grid(text()), root)
    assert said == ["run r is done: nothing is missing"]
    assert {table: rows(root, table) for table in TABLES} == whole


def test_what_left_the_grid_unfinished_does_not_hold_it_back(
    write_grid: Callable, copy_of: Callable
) -> None:
    """It is skipped, and queued again where it comes back."""
    root = copy_of(text())
    with storage.RunStore.open(root, "r") as store:
        flat = {row.cell_id for row in store.cells if row.model == "flat"}
        store.discard(flat)
        store.save_cells(
            [
                replace(row, status="queued", rows=0) if row.cell_id in flat else row
                for row in store.cells
            ]
        )
        store.save_run(replace(store.run, status="failed"))
    said_of(write_grid(text(models=["dynn.safetensors"])), root)
    query = "select distinct status, note from cells where model = 'flat'"
    assert storage.query(root, query).to_pylist() == [
        {"status": "skipped", "note": "the grid has it no more"}
    ]
    assert "4 cells, 2 tasks to go" in said_of(write_grid(text()), root)[-1]
    assert storage.query(root, query).to_pylist() == [{"status": "done", "note": None}]


def test_a_label_that_more_data_sets_make_longer_stays_what_it_was(
    write_grid: Callable, tmp_path: Path
) -> None:
    """`digits` beside another `digits` is `digits/test@5`, but not in a run that knows it."""
    root = tmp_path / "results"
    said_of(write_grid(text(measure=["accuracy"])), root)
    more = [{"name": "digits", "limit": 5}, {"name": "digits", "split": "train", "limit": 3}]
    said = said_of(write_grid(text(measure=["accuracy"], datasets=more)), root)
    assert said[0] == "run r: 2 cells are new, 2 done before"
    counted = "select dataset, count(distinct image_id) n from exits group by all order by all"
    assert storage.query(root, counted).to_pylist() == [
        {"dataset": "digits", "n": 5},
        {"dataset": "digits/train@3", "n": 3},
    ]
    said = said_of(write_grid(text(measure=["accuracy"])), root)
    assert said[0].startswith("run r: 2 cells of the run are no longer in the grid")


CHANGED: list[tuple[dict[str, object], str]] = [
    ({"datasets": [{"name": "digits", "limit": 6}]}, "limit of data set digits: then 5, now 6"),
    ({"datasets": ["digits"]}, "limit of data set digits: then 5, now none"),
    (
        {"datasets": [{"name": "digits", "split": "train", "limit": 5}]},
        "content of data set digits: then sha256 ",
    ),
    (
        {"latency": {"rounds": 1, "warmup_images": 4, "images": 4}},
        "warmup_images of latency of flat on digits: then 3, now 4",
    ),
    (
        {"measure": ["accuracy", "energy"]},
        "energy of latency of flat on digits: then none, now {",
    ),
    ({"batch_sizes": {"latency": 2}}, "batch_size of latency of flat on digits: then 1, now 2"),
    (
        {
            "models": [
                "flat.safetensors",
                {"checkpoint": "dynn.safetensors", "exit_blocks": [1]},
            ]
        },
        "exit_blocks of model dynn: then [1, 3], now [1]",
    ),
]


def test_a_changed_meaning_is_refused(write_grid: Callable, copy_of: Callable) -> None:
    """With the key, what it was, what it is, and what to do; nothing was touched."""
    root = copy_of(text())
    before = {table: rows(root, table) for table in TABLES}
    for axes, told in CHANGED:
        grid = write_grid(text(**axes))
        with pytest.raises(UsageError, match="as a new run") as caught:
            submit(grid, root, INLINE, print, "r")
        assert told in str(caught.value)
    assert {table: rows(root, table) for table in TABLES} == before


def test_another_preprocessing_in_the_same_weights_is_named(
    write_grid: Callable, copy_of: Callable
) -> None:
    """The one field that differs, beside the digest."""
    root = copy_of(text())
    grid = write_grid(text())
    dynn = grid.parent / "dynn.safetensors"
    model, metadata = gfnet.load_checkpoint(dynn), gfnet.inspect_checkpoint(dynn).metadata
    other = replace(metadata.preprocessing, interpolation="nearest")
    dynn.unlink()
    gfnet.save_checkpoint(model, dynn, replace(metadata, preprocessing=other))
    with storage.RunStore.open(root, "r") as store:
        store.save_submission(dict(store.submission) | {"base": str(grid.parent)})
        store.save_run(replace(store.run, status="failed"))
    with pytest.raises(UsageError, match="as a new run") as caught:
        resume(root, "r", INLINE, print)
    assert "checkpoint of model dynn: then sha256 " in str(caught.value)
    assert 'preprocessing.interpolation of model dynn: then "' in str(caught.value)
    assert "model flat" not in str(caught.value)


def test_a_run_that_wrote_nothing_down_is_told_by_its_rows(
    write_grid: Callable, copy_of: Callable
) -> None:
    """Of a version before: what rows have is compared, the rest told by cells that are others."""
    root = copy_of(text())
    with storage.RunStore.open(root, "r") as store:
        kept = ("grid_path", "base")
        store.save_submission({key: store.submission[key] for key in kept})
        store.save_run(replace(store.run, status="failed"))
    with pytest.raises(UsageError, match="which this run did not record"):
        submit(write_grid(text(measure=["accuracy", "energy"])), root, INLINE, print, "r")
    grid = write_grid(text(latency={"rounds": 1, "warmup_images": 9, "images": 4}))
    with pytest.raises(UsageError, match="warmup_images of latency of flat"):
        submit(grid, root, INLINE, print, "r")
    assert resume(root, "r", INLINE, print).is_done


@pytest.mark.parametrize("step", ["save_cells", "save_run"])
def test_an_amendment_that_was_cut_short_is_completed_by_a_resume(
    step: str,
    write_grid: Callable,
    ran: Callable,
    copy_of: Callable,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Killed between two saves: the new cells run, each once, and not as a second addition."""
    root = copy_of(text())
    with storage.RunStore.open(root, "r") as store:
        store.save_run(replace(store.run, status="failed"))

    def cut(*_: object) -> None:
        raise OSError("cut short")

    grid = write_grid(text(thresholds=[0.2, 0.5]))
    with monkeypatch.context() as patch:
        patch.setattr(storage.RunStore, step, cut)
        with pytest.raises(OSError, match="cut short"):
            submit(grid, root, INLINE, print, "r")
    assert resume(root, "r", INLINE, print).is_done
    submission = storage.read_submission(root, "r")
    assert len(json.loads(submission["later"])) == 1
    once = ran(text(thresholds=[0.2, 0.5]))
    for table in TABLES:
        assert rows(root, table) == rows(once, table)


@pytest.fixture(scope="session")
def extra(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of three images in two classes."""
    folder = tmp_path_factory.mktemp("sets") / "extra"
    for number, name in enumerate(["a/0.png", "a/1.png", "b/0.png"]):
        file = io.BytesIO()
        Image.fromarray(np.full((8, 8), 60 * number, np.uint8)).save(file, "PNG")
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(file.getvalue())
    return folder


AXES: dict[str, list[object]] = {
    "models": ["flat.safetensors", "distil.safetensors", "dynn.safetensors"],
    "datasets": [{"name": "digits", "limit": 3}, "imagefolder:EXTRA"],
    "thresholds": [0.3, 0.5, [0.4, 0.6]],
    "measure": ["accuracy", "latency", "exit_costs"],
}
NUMBERS = itertools.count()


@st.composite
def grids(draw: st.DrawFn) -> tuple[dict[str, object], dict[str, object]]:
    """A grid and one that has as much of each axis, or more."""
    less: dict[str, object] = {}
    more: dict[str, object] = {}
    for axis, values in AXES.items():
        chosen = draw(st.lists(st.sampled_from(range(len(values))), min_size=1, unique=True))
        first = draw(st.integers(1, len(chosen)))
        # What is added may stand before what was there.
        kept = draw(st.permutations(chosen))
        less[axis] = [values[index] for index in chosen[:first]]
        more[axis] = [values[index] for index in kept]
    if less["measure"] == ["exit_costs"]:  # which static models have none of
        less["measure"] = ["exit_costs", "latency"]
        more["measure"] = ["latency", *(set(more["measure"]) - {"latency"})]  # type: ignore[call-overload]
    rounds = draw(st.integers(1, 2))
    for grid, number in ((less, rounds), (more, draw(st.integers(rounds, 2)))):
        grid["latency"] = {"rounds": number, "warmup_images": 1, "images": 2}
    return less, more


GROWN = (  # every axis, and what is added stands before what was there
    {
        "models": ["dynn.safetensors"],
        "datasets": [{"name": "digits", "limit": 3}],
        "thresholds": [0.5],
        "measure": ["latency"],
        "latency": {"rounds": 1, "warmup_images": 1, "images": 2},
    },
    {
        "models": ["flat.safetensors", "dynn.safetensors"],
        "datasets": ["imagefolder:EXTRA", {"name": "digits", "limit": 3}],
        "thresholds": [[0.4, 0.6], 0.5],
        "measure": ["accuracy", "latency"],
        "latency": {"rounds": 2, "warmup_images": 1, "images": 2},
    },
)


@example(pair=GROWN)
@settings(
    max_examples=20,
    phases=[Phase.explicit, *([Phase.generate] if is_many() else [])],
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(pair=grids())
def test_a_grid_in_two_steps_gives_the_rows_of_one(
    pair: tuple[dict[str, object], dict[str, object]],
    write_grid: Callable,
    tmp_path: Path,
    extra: Path,
) -> None:
    """For any grid and any larger one: the same rows, timings aside, each once."""
    place = tmp_path / str(next(NUMBERS))
    for root, steps in ((place / "two", pair), (place / "one", pair[1:])):
        for axes in steps:
            grid = write_grid(text(**axes).replace("EXTRA", str(extra)))
            assert submit(grid, root, INLINE, lambda _: None, "r").is_done
    for table in TABLES:
        found = rows(place / "two", table)
        assert found == rows(place / "one", table)
        assert len(found) == len(set(found))


LADDER = """\
models: [flat.safetensors, dynn.safetensors]
datasets: [{name: digits, limit: 20}]
thresholds: [0.5, 0.7]
measure: [latency]
latency: {rounds: 3}
"""


def test_what_is_added_takes_turns_after_all_that_was_there(
    plan_of: Callable[[str], Plan],
) -> None:
    """Places of what was timed stay; a new cell, and new rounds of all, come after them."""
    plan = plan_of(LADDER)
    flat, low, high = (cell.cell_id for cell in plan.cells)
    later = (
        Later("2026-01-01 00:00:00", {high: (0, 2)}),
        Later("2026-01-02 00:00:00", {flat: (2, 3), low: (2, 3), high: (2, 3)}),
    )
    plan = replace(plan, later=later)
    for by_device in (False, True):
        (block,) = make_blocks(plan, by_device=by_device)
        tasks = list(block.tasks("r", frozenset()))
        assert [(task.cell_id, task.round, task.position) for task in tasks] == [
            (flat, 0, 0),
            (low, 0, 1),
            (low, 1, 2),
            (flat, 1, 3),
            (high, 0, 4),
            (high, 1, 5),
            (flat, 2, 6),
            (low, 2, 7),
            (high, 2, 8),
        ]
    assert block.is_immovable
    assert plan.late_cells == {high: "2026-01-01 00:00:00"}
    assert find_added(plan.cells[2:], later[:1]) == {}  # nothing of its block was there before


def test_rows_of_cells_that_the_plan_has_no_more_pass_the_ledger(
    plan_of: Callable[[str], Plan],
) -> None:
    """As they are, and after the others."""
    plan = plan_of(LADDER)
    gone = storage.CellRow("r", "gone", status="done", rows=5)
    stored = [gone, *(storage.CellRow("r", cell.cell_id) for cell in plan.cells)]
    entries = [storage.CommitEntry("gone", 0, 0, rows=5)]
    ledger = CellStates(plan, stored, entries)
    assert ledger.rows[-1] == gone
    assert [row.status for row in ledger.rows[:-1]] == ["queued"] * 3
