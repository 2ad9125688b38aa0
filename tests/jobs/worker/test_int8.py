"""Checkpoints in int8: their rows, what they are compared with, and what their cells say."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from support.worker import Bench

import gfnet
import storage
from jobs.common.errors import UsageError
from jobs.plan.plan import Plan
from jobs.runs.submit import submit
from jobs.runs.target import Target
from jobs.worker import run_task as worker
from jobs.worker.run_task import run_task

GRID = """\
models: [dynn.safetensors]
datasets: [{name: digits, limit: 20}]
thresholds: [0.5]
runtimes: [onnx]
precisions: [int8]
threads: [1]
latency: {rounds: 1, warmup_images: 2}
calibration: {dataset: digits, images: 32}
"""


@pytest.fixture(autouse=True)
def _nothing_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other tests of this process left other weights under the same digest."""
    monkeypatch.setattr(worker, "_models", OrderedDict())


@pytest.fixture
def bench(plan_of: Callable[[str], Plan]) -> Bench:
    """Its tasks."""
    return Bench(plan_of(GRID))


def _run(bench: Bench, kind: str, read: Callable[[], Any] | None = None) -> Any:
    task = bench.task(kind, "dynn")
    calibration = read or (lambda: bench.sources.calibration(task))
    weights = lambda: bench.sources.weights(task)  # noqa: E731
    return run_task(task, weights, bench.sources.shard(task), None, calibration)


def test_the_rows_are_those_of_int8_and_compared_with_float32(bench: Bench) -> None:
    """By the float32 model in torch, as for every other precision."""
    outcome = _run(bench, "exits")
    assert outcome.error == outcome.skipped == ""
    (agreement,) = outcome.tables["reference_agreement"].to_pylist()
    assert agreement["images"] == 20
    assert 1e-4 < agreement["max_logit_difference"] < 1, "eight bits are not thirty-two"
    task = bench.task("exits", "dynn")
    images, _, _ = bench.images(task)
    with torch.inference_mode():
        expected = bench.model(task).forward_exits(images).gate_scores.numpy()
    rows = outcome.tables["exits"].to_pylist()
    scores = {(row["exit_block"], row["image_id"]): row["gate_score"] for row in rows}
    _, ids, _ = bench.images(task)
    for block, row in zip((1, 3), expected, strict=True):
        for image_id, score in zip(ids, row, strict=True):
            assert scores[block, image_id] == pytest.approx(float(score), abs=0.05)


def test_images_are_sent_only_for_an_engine_that_is_not_built(bench: Bench) -> None:
    """The next task of the same worker reads none."""
    reads: list[int] = []
    task = bench.task("latency", "dynn")

    def read() -> Any:
        reads.append(1)
        return bench.sources.calibration(task)

    assert not _run(bench, "exits", read).error
    before = len(reads)
    assert not _run(bench, "exits", read).error
    assert len(reads) == before
    assert bench.sources.calibration(task).num_rows == 32


def test_an_image_that_cannot_be_decoded_is_one_line(bench: Bench) -> None:
    """And an error: fewer images would be another calibration."""
    task = replace(bench.task("exits", "dynn"), calibration_sha256="of other images")
    table = bench.sources.calibration(bench.task("exits", "dynn"))
    column = [b"broken", *table.column("image").to_pylist()[1:]]
    broken = table.set_column(3, "image", [column])
    weights = lambda: bench.sources.weights(task)  # noqa: E731
    outcome = run_task(task, weights, bench.sources.shard(task), None, lambda: broken)
    assert outcome.error == (
        "a calibration image cannot be decoded: not an image of a known format"
    )
    assert isinstance(gfnet.DecodeError("x"), ValueError)


def test_a_run_says_what_it_was_calibrated_on_and_refuses_other_images(
    write_grid: Callable[[str], Path], tmp_path: Path
) -> None:
    """In `cells`, and when the grid comes back with another number of images."""
    root = tmp_path / "results"
    threads = torch.get_num_threads()
    try:
        ended = submit(write_grid(GRID), root, Target(is_inline=True), lambda _: None, "r")
        assert ended.is_done
        (row,) = storage.query(
            root,
            "select distinct columns('calibration_.*') from cells",
        ).to_pylist()
        images = storage.open_images("digits", "train")
        assert tuple(row.values()) == ("digits/train", images.sha256, 32)
        inputs = storage.named_query(root, "inputs", run_ids=["r"]).to_pylist()
        assert [(row["kind"], row["name"], row["images"]) for row in inputs] == [
            ("calibration", "digits/train", 32),
            ("checkpoint", "dynn", None),
            ("data set", "digits", 20),
        ]
        other = write_grid(GRID.replace("32", "16"))
        with pytest.raises(UsageError, match="images of calibration of dynn: then 32, now 16"):
            submit(other, root, Target(is_inline=True), lambda _: None, "r")
    finally:
        torch.set_num_threads(threads)
