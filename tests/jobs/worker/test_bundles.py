"""Tasks of a bundle: their rows against numpy, and against the reference on another engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support import bundles

import gfnet
from jobs.common.yaml_document import Document
from jobs.grid.reader import read_grid
from jobs.plan.order import make_blocks
from jobs.plan.plan import make_plan
from jobs.plan.sources import Sources
from jobs.plan.task import Outcome, Task
from jobs.worker import loading, run_task

GRID = """\
models: [tiny]
datasets: ["imagefolder:images"]
thresholds: [0.6]
threads: [1]
batch_sizes: {accuracy: 4}
measure: [accuracy, latency, exit_costs, profile]
latency: {rounds: 1, warmup_images: 2}
"""
IMAGES = 12
CLOSE = 1e-5

Run = Callable[..., Outcome]


@pytest.fixture
def sources(tmp_path: Path) -> Iterator[tuple[Sources, list[Task]]]:
    """Bytes and tasks of a grid of the tiny bundle, for a fresh worker."""
    bundles.write(tmp_path / "tiny", bundles.files())
    bundles.write_images(tmp_path / "images", IMAGES // 3)
    plan = make_plan(read_grid(Document(tmp_path / "grid.yaml", GRID), ("any", "cpu"), tmp_path))
    tasks = list(make_blocks(plan, by_device=False)[0].tasks("r", frozenset()))
    run_task._models.clear()
    before = torch.get_num_threads()
    yield Sources.of(plan), tasks
    torch.set_num_threads(before)


@pytest.fixture
def run(sources: tuple[Sources, list[Task]]) -> Run:
    """Run the task of a kind, changed."""
    of, tasks = sources

    def run_kind(kind: str, **changes: Any) -> Outcome:
        (task,) = [replace(t, **changes) for t in tasks if t.kind == kind]
        return run_task.run_task(task, lambda: of.weights(task), of.shard(task))

    return run_kind


def rows_of(outcome: Outcome, table: str) -> dict[str, np.ndarray]:
    """Columns of a table."""
    assert not outcome.error, outcome.error
    assert not outcome.skipped
    columns = outcome.tables[table].to_pydict()
    return {name: np.array(values) for name, values in columns.items()}


def expected(sources: tuple[Sources, list[Task]]) -> tuple[np.ndarray, ...]:
    """Logits of both exits and scores, by image_id."""
    of, tasks = sources
    table = of.shard(tasks[0]).to_pydict()
    manifest = gfnet.inspect_bundle(bundles.zipped(bundles.files())).manifest
    steps = gfnet.transform(manifest.preprocessing)
    batch = torch.stack([steps(gfnet.decode(image)) for image in table["image"]]).numpy()
    order = np.argsort(table["image_id"])
    return tuple(each[order] for each in bundles.expected(batch))


@pytest.mark.parametrize("engine", ["onnx", "openvino"])
def test_an_all_exit_pass_has_the_graphs_answers(
    run: Run, sources: tuple[Sources, list[Task]], engine: str
) -> None:
    """At both exits; another engine than the reference is compared with it."""
    first, last, scores = expected(sources)
    outcome = run("exits", runtime=engine)
    rows = rows_of(outcome, "exits")
    for block, logits in ((2, first), (5, last)):
        here = rows["exit_block"] == block
        order = np.argsort(rows["image_id"][here])
        assert rows["prediction"][here][order].tolist() == logits.argmax(axis=1).tolist()
        if block == 2:
            found = rows["gate_score"][here][order].astype(float)
            np.testing.assert_allclose(found, scores, atol=CLOSE)
    assert ("reference_agreement" in outcome.tables) == (engine != "onnx")
    if engine != "onnx":
        (row,) = outcome.tables["reference_agreement"].to_pylist()
        assert (row["images"], row["answer_flips"]) == (IMAGES, 0)
        assert row["max_logit_difference"] < CLOSE


@pytest.mark.parametrize("engine", ["onnx", "openvino"])
def test_routed_images_leave_where_their_scores_say(
    run: Run, sources: tuple[Sources, list[Task]], engine: str
) -> None:
    """One by one, under the clock."""
    first, last, scores = expected(sources)
    middle = float(np.sort(scores)[[5, 6]].mean())
    outcome = run("latency", runtime=engine, thresholds=(middle,))
    rows = rows_of(outcome, "records")
    order = np.argsort(rows["image_id"])
    leaves = scores >= np.float32(middle)
    assert leaves.sum() == IMAGES // 2
    assert rows["exit_block"][order].tolist() == np.where(leaves, 2, 5).tolist()
    wanted = np.where(leaves, first.argmax(axis=1), last.argmax(axis=1))
    assert rows["prediction"][order].tolist() == wanted.tolist()
    assert (rows["forward_ms"] > 0).all()
    if engine == "openvino":
        (row,) = outcome.tables["reference_agreement"].to_pylist()
        assert (row["images"], row["exit_flips"], row["answer_flips"]) == (IMAGES, 0, 0)


def test_every_exit_is_forced(run: Run) -> None:
    """One row per image and exit."""
    rows = rows_of(run("exit_costs"), "exit_costs")
    assert sorted(rows["exit_block"].tolist()) == [2] * IMAGES + [5] * IMAGES


@pytest.mark.parametrize("engine", ["onnx", "openvino"])
def test_a_profile_has_a_row_a_stage(run: Run, engine: str) -> None:
    """Every image runs both; shares sum to 1, but for the cost of the clocks."""
    rows = rows_of(run("profile", runtime=engine), "profile")
    parts = dict(
        zip(zip(rows["component"], rows["block"], strict=True), rows["share"], strict=True)
    )
    assert parts.keys() == {("stage", 2), ("stage", 5), ("other", None), ("profiling", None)}
    assert set(rows["calls"].tolist()) == {IMAGES}
    del parts["profiling", None]
    assert sum(parts.values()) == pytest.approx(1)
    assert min(parts.values()) > 0


def test_what_a_worker_finds_out_is_skipped_with_its_reason(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as that ONNX Runtime is missing, without which no bundle is checked."""
    assert "runs no bundle" in run("exits", runtime="torch").skipped
    monkeypatch.setattr(loading, "unavailable", lambda *_: "it needs onnxruntime")
    assert run("exits").skipped == "a bundle is checked with ONNX Runtime: it needs onnxruntime"


def test_a_bundle_whose_scores_are_out_of_range_fails_with_one_line(
    sources: tuple[Sources, list[Task]],
) -> None:
    """It is tried before it is used: no traceback, no rows."""
    stage = bundles.first_stage()
    stage.graph.node[-1].op_type = "Exp"
    bundle = gfnet.inspect_bundle(bundles.zipped(bundles.files({"stage_0.onnx": stage})))
    of, tasks = sources
    task = replace(tasks[0], checkpoint_sha256=bundle.digest)
    outcome = run_task.run_task(task, bundle.packed, of.shard(task))
    assert outcome.error.startswith("tiny: bundle: stage_0.onnx: its scores reach from")
    assert outcome.error.endswith("; a repaired bundle has another digest: submit a new run")
    assert outcome.error.count("\n") == 0
    assert not outcome.tables
