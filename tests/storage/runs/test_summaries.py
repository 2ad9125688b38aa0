"""Summaries and the history: what they answer is what the rows say, and they are never stale."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import storage
from storage.runs import history, summaries
from storage.sql import macros
from tests.storage.conftest import NOON, Builder, ask
from tests.storage.plain_ladder import plain_ladder

pytestmark = pytest.mark.usefixtures("short_ladder")

QUESTIONS = {
    "ladder": "FROM ladder",
    "committed": "FROM committed",
    "trend": "FROM trend('early')",
    "sums": "SELECT count(*), sum(acc1), max(note) FROM ladder WHERE run_id = 'run-2'",
    "joined": "SELECT status, p50_ms FROM ladder JOIN cells USING (run_id, cell_id) ORDER BY ALL",
}


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


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Several runs, to be copied."""
    root: Path = tmp_path_factory.mktemp("written") / "results"
    with plain_ladder(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        write_several(root)
    return root


def write_several(root: Path) -> None:
    """Three merged runs, one that is not merged, and one without a row."""
    for seed in range(5):
        build = Builder(root, f"run-{seed}")
        build.run = dataclasses.replace(build.run, submitted_at=NOON + timedelta(days=seed))
        if seed < 4:
            fill(build, seed)
        else:
            build.cell()
        build.store([storage.NodeRow(build.run.run_id, "node-a")], merge=seed != 3)


@pytest.fixture
def several(written: Path, tmp_path: Path) -> Path:
    """The same runs, to be changed."""
    return Path(shutil.copytree(written, tmp_path / "results"))


@contextlib.contextmanager
def without_summaries(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """All runs are read as if they had neither summary nor history."""
    with monkeypatch.context() as patch:
        patch.setattr("storage.results.contents.is_current", lambda *_: False)
        patch.setattr("storage.results.contents.History.read", lambda _: None)
        yield


def answers(root: Path) -> Any:
    """What all questions give, with floats as they are but for the order of a sum."""
    return rounded(ask(root, **QUESTIONS))


def rounded(value: Any) -> Any:
    """Floats with 12 digits."""
    if isinstance(value, dict):
        return {name: rounded(values) for name, values in value.items()}
    if isinstance(value, list):
        return [rounded(each) for each in value]
    return float(f"{value:.12g}") if isinstance(value, float) else value


def computed(root: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What they give from the rows."""
    with without_summaries(monkeypatch):
        return answers(root)


def test_all_questions_are_answered_from_summaries_as_from_rows(
    several: Path, monkeypatch: pytest.MonkeyPatch, computing: list[list[str]]
) -> None:
    """Of some runs or all, and from the history."""
    expected = computed(several, monkeypatch)
    assert len(expected["ladder"]) > 12
    computing.clear()
    assert answers(several) == expected
    assert computing[0] == ["run-3"]
    storage.compact(several)
    computing.clear()
    assert answers(several) == expected
    assert computing == []


def test_tables_are_the_same_with_and_without_history(several: Path) -> None:
    """All rows of all tables, in their order."""
    tables = [name for name in storage.TABLES if name not in ("images", "training")]
    in_order = {name: f"FROM {name} ORDER BY ALL" for name in tables}
    as_they_come = {name: f"FROM {name}" for name in ("runs", "cells", "nodes")}
    before, ordered = ask(several, **as_they_come), ask(several, **in_order)
    runs = storage.list_runs(several)
    storage.compact(several)
    assert ask(several, **in_order) == ordered
    assert ask(several, **as_they_come) == before
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
    for module in (macros, summaries, "storage.results.contents", "storage.maintenance.compaction"):
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
    assert {history.sealed_run(seal.name) for seal in seals.iterdir()} == set(left)
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
    for run_id in ("run-0", "run-1", "run-3", "run-4"):
        storage.remove_run(several, run_id)
    unmerged = Builder(several, "small")  # so that few files are to be taken away
    unmerged.records(unmerged.cell(), 3)
    unmerged.store()
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
