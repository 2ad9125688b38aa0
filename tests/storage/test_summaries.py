"""Summaries and the history: what they answer is what the rows say, and they are never stale."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import storage
from storage import catalog, history, questions, summaries, views

from .conftest import NOON, Builder

QUESTIONS = (
    "FROM ladder",
    "FROM committed",
    "FROM trend('early')",
    "SELECT count(*), sum(acc1), max(note) FROM ladder WHERE run_id = 'run-2'",
    "SELECT status, p50_ms FROM ladder JOIN cells USING (run_id, cell_id) ORDER BY ALL",
)


def fill(build: Builder, seed: int) -> None:
    """A run of every kind of row that the ladder looks at, each run another."""
    generator = np.random.default_rng(seed)
    static = build.cell(position=0)
    routed = [
        build.cell(model="early", exit_blocks=(1, 2), threshold=threshold)
        for threshold in (0.25, 0.5)
    ]
    several = build.cell(model="early", exit_blocks=(1, 2), thresholds=(0.2, 0.7), batch_size=4)
    images = 20 + seed
    for cell in (static, *routed, several):
        for round_ in range(1 + seed % 2):
            build.records(
                cell,
                images,
                round_,
                is_correct=generator.random(images) < 0.8,
                exit_block=generator.integers(1, 4, images).astype(np.int32),
                forward_ms=generator.lognormal(size=images),
                is_throttled=bool(seed == 2 and round_ == 0),
            )
            build.commit(
                cell,
                round_,
                30,
                rounds={
                    "node": "node-a",
                    "power_mode": str(seed % 3),
                    "clock_mhz": 1000.0 + seed,
                    "is_throttled": False,
                },
            )
        build.power(cell, "idle_before", [0, 1], [2.0, 2.1])
        build.power(cell, "active", [2, 3, 5], [5.0, 5.0 + seed, 6.0], shard=51)
    passes = build.cell("exits", model="early", exit_blocks=(1, 2), batch_size=8)
    score = generator.random(3 * images).astype(np.float32)
    blocks = np.tile(np.array([1, 2, 3], np.int32), images)
    build.commit(
        passes,
        exits={
            "image_id": np.repeat(np.arange(images), 3),
            "exit_block": blocks,
            "gate_score": pa.array(score, mask=blocks == 3),
            "is_correct": generator.random(3 * images) < 0.7,
            "is_top5": True,
            "loss": generator.random(3 * images).astype(np.float32),
        },
    )
    build.cell(model="never", status="failed", error="Traceback\nValueError: no", is_valid=None)


@pytest.fixture
def several(build_run: Callable[[str], Builder]) -> Path:
    """Three merged runs, one that is not merged, and one without a row."""
    for seed in range(5):
        build = build_run(f"run-{seed}")
        build.run = dataclasses.replace(build.run, submitted_at=NOON + timedelta(days=seed))
        if seed < 4:
            fill(build, seed)
        else:
            build.cell()
        build.store([storage.NodeRow(build.run.run_id, "node-a")], merge=seed != 3)
    return build.root


@contextlib.contextmanager
def without_summaries(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """All runs are read as if they had neither summary nor history."""
    with monkeypatch.context() as patch:
        patch.setattr("storage.contents.is_current", lambda *_: False)
        patch.setattr("storage.contents.History.read", lambda _: None)
        yield


def answers(root: Path) -> list[Any]:
    """What all questions give, with floats as they are but for the order of a sum."""
    return [rounded(storage.query(root, sql).to_pydict()) for sql in QUESTIONS]


def rounded(value: Any) -> Any:
    """Floats with 12 digits."""
    if isinstance(value, dict):
        return {name: rounded(values) for name, values in value.items()}
    if isinstance(value, list):
        return [rounded(each) for each in value]
    return float(f"{value:.12g}") if isinstance(value, float) else value


def computed(root: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What they give from the rows."""
    with without_summaries(monkeypatch):
        return answers(root)


@pytest.fixture
def computing(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Which runs' rows were read for a summarised view, a list for each time."""
    asked: list[list[str]] = []
    real = views._create_tables

    def noted(connection: Any, mount: Any, schema: str, contents: Any, names: Any) -> None:
        if {"records", "exits"} & set(names):
            asked.append([run.run_id for run in contents.runs])
        real(connection, mount, schema, contents, names)

    monkeypatch.setattr(views, "_create_tables", noted)
    return asked


def test_answers_are_the_same_with_and_without_summaries(
    several: Path, monkeypatch: pytest.MonkeyPatch, computing: list[list[str]]
) -> None:
    """From rows; from summaries of some and rows of others; from the history; types as well."""
    expected = computed(several, monkeypatch)
    assert len(expected[0]["model"]) > 12
    computing.clear()
    assert answers(several) == expected
    assert computing[0] == ["run-3"]
    schema = storage.query(several, "FROM ladder").schema
    done = storage.compact(several)
    assert (done.added, done.left) == ([f"run-{seed}" for seed in range(5)], {})
    computing.clear()
    assert answers(several) == expected
    assert computing == []
    assert storage.query(several, "FROM ladder").schema == schema
    with without_summaries(monkeypatch):
        assert storage.query(several, "FROM ladder").schema == schema


def test_tables_are_the_same_with_and_without_history(several: Path) -> None:
    """All rows of all tables, in their order."""
    tables = [name for name in storage.TABLES if name not in ("images", "training")]
    before = [storage.query(several, f"FROM {name}").to_pydict() for name in tables]
    runs = storage.list_runs(several)
    storage.compact(several)
    after = [storage.query(several, f"FROM {name} ORDER BY ALL").to_pydict() for name in tables]
    in_order = [storage.query(several, f"FROM {name} ORDER BY ALL").to_pydict() for name in tables]
    assert after == in_order
    for name, old in zip(tables, before, strict=True):
        found = storage.query(several, f"FROM {name}").to_pydict()
        assert len(found["run_id"]) == len(old["run_id"]), name
        if name in ("runs", "cells", "nodes"):
            assert found == old, name
    assert storage.list_runs(several) == runs
    assert storage.resolve_run(several, "latest") == "run-4"


CHANGES: dict[str, Callable[[storage.RunStore], object]] = {
    "a commit": lambda store: store.commit(
        storage.CommitEntry(store.cells[0].cell_id, 0, 90, rows=1),
        {
            "records": storage.build_table(
                "records",
                {
                    "run_id": "run-1",
                    "cell_id": store.cells[0].cell_id,
                    "round": 0,
                    "image_id": 900,
                    "is_correct": False,
                    "exit_block": 3,
                    "forward_ms": 77.0,
                    "node": "node-a",
                },
            )
        },
    ),
    "power": lambda store: store.add_power(
        storage.build_table(
            "power",
            {
                "run_id": "run-1",
                "cell_id": store.cells[0].cell_id,
                "round": 0,
                "node": "node-a",
                "rail": "total",
                "phase": "active",
                "sampled_at": [NOON, NOON + timedelta(seconds=9)],
                "power_mw": [9000.0, 9000.0],
            },
        )
    ),
    "a discarded cell": lambda store: store.discard([store.cells[1].cell_id]),
    "cells": lambda store: store.save_cells(
        [dataclasses.replace(cell, is_valid=False, note="bad") for cell in store.cells]
    ),
    "nodes": lambda store: store.save_nodes(
        [storage.NodeRow("run-1", "node-a", power_mode="15W", note="the fan stood still")]
    ),
    "the baseline": lambda store: store.save_run(
        dataclasses.replace(store.run, baseline="early", status="done")
    ),
}


@pytest.mark.parametrize(
    ("change", "is_compacted"), [*((change, True) for change in CHANGES), ("power", False)]
)
def test_no_change_leaves_a_stale_answer(
    several: Path, monkeypatch: pytest.MonkeyPatch, change: str, *, is_compacted: bool
) -> None:
    """At once, after the merge that follows, and after the next compaction."""
    if is_compacted:
        storage.compact(several)
    before = answers(several)
    with storage.RunStore.open(several, "run-1") as store:
        CHANGES[change](store)
        changed = computed(several, monkeypatch)
        assert answers(several) == changed
        store.merge()
    assert answers(several) == changed
    if change != "nodes":
        assert changed != before
    done = storage.compact(several)
    assert done.added == (["run-1"] if is_compacted else [f"run-{seed}" for seed in range(5)])
    assert answers(several) == changed


def test_a_summary_of_other_queries_does_not_count(
    several: Path, monkeypatch: pytest.MonkeyPatch, computing: list[list[str]]
) -> None:
    """A newer gfjobs may define the ladder anew; compacting makes all summaries again."""
    expected = answers(several)
    storage.compact(several)
    newer = lambda: "of tomorrow"  # noqa: E731
    for module in (questions, summaries, "storage.contents", "storage.compaction"):
        name = module if isinstance(module, str) else module.__name__
        monkeypatch.setattr(f"{name}.definition", newer)
    computing.clear()
    assert answers(several) == expected
    assert computing
    assert len(storage.compact(several).added) == 5
    computing.clear()
    assert answers(several) == expected
    assert computing == []


def test_a_removed_run_is_gone_from_the_history(several: Path) -> None:
    """Also where its folder was removed by hand, and where its name is used again."""
    storage.compact(several)
    storage.remove_run(several, "run-1")
    left = ["run-0", "run-2", "run-3", "run-4"]
    assert [run.run_id for run in reversed(storage.list_runs(several))] == left
    sql = "SELECT DISTINCT run_id FROM ladder ORDER BY ALL"
    assert storage.query(several, sql)["run_id"].to_pylist() == left
    seals = several / "history" / "seals"
    assert {history.run_of(seal.name) for seal in seals.iterdir()} == set(left)
    (several / "runs" / "run-2").rename(several / "elsewhere")
    assert storage.query(several, sql)["run_id"].to_pylist() == ["run-0", "run-3", "run-4"]
    again = Builder(several, "run-2")
    again.records(again.cell(model="new"), 3)
    again.store()
    rows = storage.query(several, "SELECT model FROM ladder WHERE run_id = 'run-2'").to_pylist()
    assert rows == [{"model": "new"}]
    assert storage.compact(several).dropped == ["run-1", "run-2"]
    assert sorted(path.name.partition("-")[0] for path in (several / "history").iterdir()) == [
        "cells", "committed", "index.json", "ladder", "lock", "nodes", "runs", "seals",
    ]  # fmt: skip


def test_a_run_that_goes_on_is_left(several: Path) -> None:
    """One that is written, or waits for a resume; a dry run only says so."""
    with storage.RunStore.open(several, "run-0") as store:
        store.save_run(dataclasses.replace(store.run, status="running"))
        assert storage.compact(several, is_dry=True).left == {"run-0": "running"}
        assert not (several / "history").exists()
        done = storage.compact(several)
        assert done.left == {"run-0": "running"}
        assert len(storage.query(several, "FROM runs")) == 5
    told: list[tuple[str, int, int]] = []
    again = storage.compact(several, lambda *step: told.append(step))
    assert (again.left, again.added, len(again.kept)) == ({"run-0": "interrupted"}, [], 4)
    assert told[-1] == ("run-4", 5, 5)


class KilledError(Exception):
    """Stands for a process that ends here."""


def killing_at(step: int) -> Callable[[], None]:
    """End the "process" at one step, and at every later one."""
    steps = iter(range(step))

    def action() -> None:
        if next(steps, None) is None:
            raise KilledError

    return action


def ladder(root: Path) -> Any:
    """All its rows, with floats as they are but for the order of a sum."""
    return rounded(storage.query(root, "FROM ladder ORDER BY ALL").to_pydict())


def test_a_compaction_killed_at_any_step_changes_no_answer(
    several: Path, monkeypatch: pytest.MonkeyPatch, on_each_step: Callable[..., None]
) -> None:
    """Before each write, rename and removal; with an older history and without."""
    expected = ladder(several)
    for round_ in range(2):
        for step in range(200):
            on_each_step(killing_at(step))
            try:
                storage.compact(several)
                break
            except KilledError:
                monkeypatch.undo()
            assert ladder(several) == expected, (round_, step)
        else:
            raise AssertionError("it never ended")
        monkeypatch.undo()
        assert ladder(several) == expected
        with storage.RunStore.open(several, "run-2") as store:
            store.save_nodes(store.nodes)
    assert step > 3
    assert storage.compact(several).added == ["run-2"]


@pytest.mark.parametrize("question", ["FROM ladder", "FROM trend('static')"])
def test_rows_come_in_one_order_whatever_the_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, question: str
) -> None:
    """Cells that differ in nothing but their id, some without a position; summed up or not."""
    for number in range(3):
        build = Builder(tmp_path, f"run-{number}")
        for place in range(30):
            cell = build.cell(cell_id=f"c{place * 17 % 31:02}", position=place // 4 or None)
            build.records(cell, 20, forward_ms=float(place * 17 % 31 + 1))
        run = dataclasses.replace(build.run, status="done")
        with storage.RunStore.create(tmp_path, build.run, build.cells, {}) as store:
            for entry, tables in build.tables:
                store.commit(entry, tables)
            if number:
                store.merge()
            store.save_run(run)
    orders = set()
    for threads in (1, 2, 8):
        monkeypatch.setitem(catalog._CONFIG, "threads", threads)
        rows = storage.query(tmp_path, question).to_pylist()
        orders.add(tuple((row["run_id"], round(row["forward_ms"], 6)) for row in rows))
    (order,) = orders
    assert len(order) == 90
    if "trend" in question:
        assert list(order) == sorted(order)  # times go up with the ids
