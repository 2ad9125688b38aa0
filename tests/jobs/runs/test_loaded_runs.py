"""Runs under load are interrupted, resumed, amended and compared like any other."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

import storage
from jobs.analysis.comparison.compare import compare
from jobs.analysis.comparison.run_data import Side
from jobs.common.errors import UsageError
from jobs.runs.submit import resume, submit
from jobs.runs.target import Target
from jobs.worker.serving import serve
from storage.maintenance.fsck import fsck

INLINE = Target(is_inline=True)
ROWS = {
    "responses": "cell_id, round, request, image_id, exit_block, arrived_ms",
    "throughput": "cell_id, round, batch, images",
    "records": "cell_id, round, image_id, exit_block",
    "cells": "cell_id, kind, arrivals_per_s, batch_size, rounds, status, rows",
}


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    """Give the process its threads back: workers set them."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def text(**axes: object) -> str:
    """A grid that is served for a moment."""
    grid = {
        "name": "loaded",
        "models": ["flat.safetensors", "dynn.safetensors"],
        "datasets": [{"name": "digits", "limit": 6}],
        "thresholds": [0.5],
        "threads": [1],
        "measure": ["accuracy", "latency", "throughput", "serving"],
        "batch_sizes": {"throughput": [1, 4]},
        "latency": {"rounds": 2, "warmup_images": 3},
        "serving": {"arrivals": [10], "seconds": 0.4},
    }
    return json.dumps(grid | axes)  # JSON is YAML


def rows(root: Path) -> dict[str, list[tuple[object, ...]]]:
    """All rows of all tables, times of answers aside."""
    found = {}
    for table, columns in ROWS.items():
        table_rows = storage.query(root, f"select {columns} from {table} order by all").to_pylist()  # noqa: S608
        found[table] = [tuple(row.values()) for row in table_rows]
    return found


def interrupt_in(round_: int, patch: pytest.MonkeyPatch) -> None:
    """Let the driver be interrupted in the midst of a served round, counted from 1."""
    rounds = itertools.count(1)

    def cut(answer: Callable, *args: object, **options: object) -> object:
        is_cut = next(rounds) == round_

        def answer_or_cut(request: int) -> object:
            if is_cut and request == 2:
                raise KeyboardInterrupt
            return answer(request)

        return serve(answer_or_cut, *args, **options)

    patch.setattr("jobs.worker.serving.serve", cut)


@pytest.mark.parametrize("round_", [1, 2, 4])
def test_interrupted_and_resumed(
    round_: int,
    write_grid: Callable,
    ran: Callable,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The rows are those of a run that was never interrupted: each request once."""
    root = tmp_path / "results"
    with monkeypatch.context() as patch:
        interrupt_in(round_, patch)
        with pytest.raises((KeyboardInterrupt, UsageError)):
            submit(write_grid(text()), root, INLINE, lambda _: None, "r")
    assert len(rows(root)["responses"]) < len(rows(ran(text()))["responses"])
    assert resume(root, "r", INLINE, lambda _: None).is_done
    assert rows(root) == rows(ran(text()))
    assert not fsck(root)


def test_amended_with_rates_batches_and_rounds(write_grid: Callable, copy_of: Callable) -> None:
    """What was there stays; the rest is added, and each round has its own arrivals."""
    root = copy_of(text())
    before = rows(root)
    grid = text(
        serving={"arrivals": [10, 25], "seconds": 0.4},
        batch_sizes={"throughput": [1, 4, 6]},
        latency={"rounds": 3, "warmup_images": 3},
    )
    assert submit(write_grid(grid), root, INLINE, lambda _: None, "r").is_done
    after = rows(root)
    for table in ("responses", "throughput"):
        assert set(before[table]) < set(after[table])
    cells = {(row[1], row[2], row[3]): row[4] for row in after["cells"]}
    assert {key for key in cells if key[0] == "serving"} == {
        ("serving", 10.0, 1),
        ("serving", 25.0, 1),
    }
    assert {key[2] for key in cells if key[0] == "throughput"} == {1, 4, 6}
    assert {row[5] for row in after["cells"]} == {"done"}
    by_round: dict[object, dict[object, object]] = {}
    for cell_id, number, request, *_, arrived_ms in after["responses"]:
        if request == 0:
            by_round.setdefault(cell_id, {})[number] = arrived_ms
    assert all(len({*times.values()}) == 3 for times in by_round.values())
    assert not fsck(root)


def test_other_seconds_are_refused(write_grid: Callable, copy_of: Callable) -> None:
    """One name would have two responses."""
    root = copy_of(text())
    grid = write_grid(text(serving={"arrivals": [10], "seconds": 0.5}))
    with pytest.raises(UsageError, match=r"seconds of serving of flat on digits: then 0.4, now"):
        submit(grid, root, INLINE, lambda _: None, "r")


def test_compared(ran: Callable, tmp_path: Path) -> None:
    """By accuracy and latency as without load; a note says where the load is."""
    root = Path(shutil.copytree(ran(text()), tmp_path / "results"))
    with storage.RunStore.open(root, "r") as store:
        submission = dict(store.submission)
    path = Path(submission["grid_path"])
    assert submit(path, root, INLINE, lambda _: None, "other").is_done
    found = compare(root, Side("r"), Side("other"))
    assert {row.figure for row in found.rows} >= {"accuracy", "latency"}
    assert not found.alone
    assert any("throughput and serving are not compared" in note for note in found.notes)
