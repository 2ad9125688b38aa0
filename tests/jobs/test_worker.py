"""One task on this machine: rows against the model's own answers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import gfnet
import storage
from jobs import clock, work, worker
from jobs import node as node_module
from jobs.device import use_device
from jobs.driver import with_clock_remark
from jobs.executor import Sources, shuffled
from jobs.measure import Measured, measure_routes
from jobs.node import describe_node
from jobs.order import task_queues
from jobs.plan import Plan
from jobs.task import Task
from jobs.worker import run_task

GRID = """\
models: [flat.safetensors, dynn.safetensors]
datasets: [{name: digits, limit: 20}]
thresholds: [[0.4, 0.6]]
threads: [1]
batch_sizes: {accuracy: 8}
measure: [accuracy, latency, exit_costs, profile]
latency: {rounds: 1, warmup_images: 2}
"""


class Bench:
    """The tasks of a grid, and how to run them."""

    def __init__(self, plan: Plan) -> None:
        (queue,) = task_queues(plan, "r", frozenset(), by_device=False)
        self.tasks = list(queue)
        self.sources = Sources.of(plan)

    def task(self, kind: str, model: str) -> Task:
        """The only task of a cell."""
        (task,) = [t for t in self.tasks if (t.kind, t.model) == (kind, model)]
        return task

    def model(self, task: Task) -> gfnet.GFNet:
        """The task's model, loaded anew."""
        return gfnet.load_checkpoint(self.sources.weights(task), exit_blocks=task.exit_blocks)

    def images(self, task: Task) -> tuple[torch.Tensor, list[int], list[int]]:
        """All images of a task as one batch, their ids and labels."""
        table = self.sources.shard(task).to_pydict()
        steps = gfnet.transform(self.model(task).metadata.preprocessing)
        batch = torch.stack([steps(gfnet.decode(image)) for image in table["image"]])
        return batch, table["image_id"], table["label"]

    def rows(self, task: Task, table: str) -> dict[str, list[Any]]:
        """Run a task and take one of its tables."""
        outcome = run_task(task, lambda: self.sources.weights(task), self.sources.shard(task))
        assert not outcome.error, outcome.error
        assert outcome.tables.keys() == {table} | ({"rounds"} if task.is_timed else set())
        columns: dict[str, list[Any]] = outcome.tables[table].to_pydict()
        return columns


@pytest.fixture
def bench(plan_of: Callable[[str], Plan]) -> Iterator[Bench]:
    """A fresh worker and its tasks."""
    worker._models.clear()
    before = torch.get_num_threads()
    with torch.no_grad():
        yield Bench(plan_of(GRID))
    torch.set_num_threads(before)


def test_exit_rows_are_the_models_answers(bench: Bench) -> None:
    """Each image at each exit: score, prediction, loss and features; the last has no gate."""
    task = bench.task("exits", "dynn")
    rows = bench.rows(task, "exits")
    batch, ids, labels = bench.images(task)
    outputs = bench.model(task).forward_exits(batch)
    features = gfnet.gate_features(outputs.logits)
    assert len(rows["image_id"]) == 60
    by_key = {
        (b, i): n for n, (b, i) in enumerate(zip(rows["exit_block"], rows["image_id"], strict=True))
    }
    for exit_, block in enumerate((1, 3, 4)):
        for image, image_id in enumerate(ids):
            row = by_key[block, image_id]
            logits = outputs.logits[exit_, image]
            assert rows["label"][row] == labels[image]
            assert rows["prediction"][row] == int(logits.argmax())
            loss = torch.nn.functional.cross_entropy(logits, torch.tensor(labels[image]))
            assert rows["loss"][row] == pytest.approx(float(loss), abs=1e-5)
            max_prob, entropy, margin, _ = features[exit_, image].tolist()
            assert rows["max_prob"][row] == pytest.approx(max_prob, abs=1e-5)
            assert rows["entropy"][row] == pytest.approx(entropy, abs=1e-5)
            assert rows["margin"][row] == pytest.approx(margin, abs=1e-5)
            score = rows["gate_score"][row]
            if block == 4:
                assert score is None
            else:
                assert score == pytest.approx(float(outputs.gate_scores[exit_, image]), abs=1e-6)


def test_routed_rows_are_what_the_router_did(bench: Bench) -> None:
    """One row an image, with exit, score and both clocks; NULL where there is no gate."""
    task = bench.task("latency", "dynn")
    assert task.thresholds == tuple(float(np.float32(t)) for t in (0.4, 0.6))
    rows = bench.rows(task, "records")
    batch, ids, labels = bench.images(task)
    assert (rows["image_id"], rows["label"]) == (ids, labels)
    assert ids == shuffled(450)[:20]
    for row, image in enumerate(batch.split(1)):
        routed = bench.model(task).route(image, task.thresholds)
        assert rows["exit_block"][row] == routed.exit_block.item()
        assert rows["prediction"][row] == int(routed.logits.argmax())
        is_last = routed.exit_block.item() == 4
        assert (rows["gate_score"][row] is None) == is_last
        assert 0 < rows["forward_ms"][row] <= rows["elapsed_ms"][row]
    assert set(rows["round"]) == {0}
    assert set(rows["threshold"]) == {None}, "the thresholds differ"
    assert set(rows["is_throttled"]) == {None}, "nobody looked"
    assert set(rows["device"]) == {"cpu"}


def test_exit_costs_have_a_row_an_image_and_exit(bench: Bench) -> None:
    """All exits of all images, each with a time."""
    task = bench.task("exit_costs", "dynn")
    rows = bench.rows(task, "exit_costs")
    keys = set(zip(rows["image_id"], rows["exit_block"], strict=True))
    assert keys == {(i, block) for i in shuffled(450)[:20] for block in (1, 3, 4)}
    assert len(rows["image_id"]) == 60
    assert min(rows["forward_ms"]) > 0
    assert set(rows["round"]) == {0}


def test_a_profile_has_a_row_a_part(bench: Bench) -> None:
    """Every part of every block and exit once, in milliseconds and as a share of the whole."""
    in_block = ["norm1", "filter_forward", "filter_product", "filter_inverse", "norm2", "mlp"]
    in_block.append("residual")
    at_exit = ["exit_norm", "exit_heads", "exit_gate", "exit_decision"]
    ends = {(name, None) for name in ("patch_embed", "norm", "head", "other", "profiling")}
    for model, depth, exits in (("flat", 3, ()), ("dynn", 5, (1, 3))):
        rows = bench.rows(bench.task("profile", model), "profile")
        keys = list(zip(rows["component"], rows["block"], strict=True))
        expected = ends | {(name, block) for name in in_block for block in range(depth)}
        assert set(keys) == expected | {(name, block) for name in at_exit for block in exits}
        assert len(keys) == len(set(keys))
        assert set(rows["calls"]) == {20}
        parts = [row for row, key in enumerate(keys) if key[0] != "profiling"]
        assert sum(rows["share"][row] for row in parts) == pytest.approx(1)
        assert min(rows["total_ms"][row] for row in parts) > 0
        total_ms = sum(rows["total_ms"][row] for row in parts)
        for row in range(len(keys)):
            assert rows["share"][row] == pytest.approx(rows["total_ms"][row] / total_ms)


def test_profiling_leaves_the_loaded_model_alone(bench: Bench) -> None:
    """The worker keeps it, and the next cell is timed without clocks inside."""
    task = bench.task("profile", "dynn")
    bench.rows(task, "profile")
    (model,) = worker._models.values()
    assert not [module for module in model.modules() if "forward" in vars(module)]
    assert not {"embed", "early_readout", "readout"} & set(vars(model))


def test_another_engine_is_not_profiled_as_torch(bench: Bench) -> None:
    """Its parts are not the modules that have clocks: that is skipped, and says what has some."""
    task = replace(bench.task("profile", "flat"), precision="bfloat16")
    outcome = run_task(task, lambda: bench.sources.weights(task), bench.sources.shard(task))
    assert outcome.skipped.startswith("a profile has clocks inside runtime torch in float32 alone")
    assert not outcome.error


def test_what_the_device_found_lacks_is_skipped(bench: Bench) -> None:
    """`any` was free to be one that has it; the model is not even fetched."""
    task = replace(bench.task("exits", "flat"), precision="float16", device="any")

    def fetch() -> bytes:
        raise AssertionError

    outcome = run_task(task, fetch, bench.sources.shard(task))
    assert outcome.skipped == "float16 on a processor is not offered: choose bfloat16"
    assert (outcome.tables, outcome.error) == ({}, "")


@pytest.mark.parametrize("engine", [("torch", "bfloat16"), ("onnx", "float32")])
def test_other_engines_are_held_against_the_model(bench: Bench, engine: tuple[str, str]) -> None:
    """At the same batch size: of an all-exit pass every exit, of a routed cell what each ran."""
    runtime, precision = engine
    passes = replace(bench.task("exits", "dynn"), runtime=runtime, precision=precision)
    (row,) = agreement_of(bench, passes)
    batch, _, _ = bench.images(passes)
    model = bench.model(passes)
    other = gfnet.runtime(runtime, model, threads=1, precision=precision)
    parts = [(other.forward_exits(part), model.forward_exits(part)) for part in batch.split(8)]
    found, expected = (torch.cat([pair[side].logits for pair in parts], dim=1) for side in (0, 1))
    assert (row["images"], row["exit_flips"]) == (20, None)
    furthest = (found.double() - expected.double()).abs().max().item()
    assert row["max_logit_difference"] == pytest.approx(furthest, rel=1e-6)
    assert furthest > 0, "another engine rounds otherwise"
    assert row["answer_flips"] == int((found.argmax(-1) != expected.argmax(-1)).sum())
    gates = [(a.gate_scores.double() - b.gate_scores.double()).abs().max() for a, b in parts]
    assert row["max_gate_difference"] == pytest.approx(max(gates).item(), rel=1e-6)

    task = replace(bench.task("latency", "dynn"), runtime=runtime, precision=precision)
    (row,) = agreement_of(bench, task)
    images = batch.split(1)
    ours = [other.route(image, task.thresholds) for image in images]
    theirs = [model.route(image, task.thresholds) for image in images]
    same = [(a, b) for a, b in zip(ours, theirs, strict=True) if a.exit_block == b.exit_block]
    assert same
    assert (row["round"], row["shard"], row["images"]) == (0, 0, 20)
    assert row["exit_flips"] == 20 - len(same)
    furthest = max((a.logits.double() - b.logits.double()).abs().max().item() for a, b in same)
    assert row["max_logit_difference"] == pytest.approx(furthest, rel=1e-6)
    flips = [int(a.logits.argmax() != b.logits.argmax()) for a, b in zip(ours, theirs, strict=True)]
    assert row["answer_flips"] == sum(flips)


def agreement_of(bench: Bench, task: Task) -> list[dict[str, Any]]:
    """The rows that a task leaves in `reference_agreement`."""
    outcome = run_task(task, lambda: bench.sources.weights(task), bench.sources.shard(task))
    assert not outcome.error, outcome.error
    assert task.is_timed == ("rounds" in outcome.tables)
    table = outcome.tables.get("reference_agreement")
    rows: list[dict[str, Any]] = table.to_pylist() if table is not None else []
    return rows


def test_only_the_first_round_is_held_against_the_model(bench: Bench) -> None:
    """Later ones route the same images; costs of exits have no answers."""
    task = replace(bench.task("latency", "dynn"), precision="bfloat16")
    assert len(agreement_of(bench, task)) == 1
    assert agreement_of(bench, replace(task, round=1)) == []
    costs = replace(bench.task("exit_costs", "dynn"), precision="bfloat16")
    assert agreement_of(bench, costs) == []


def test_the_model_answers_after_the_last_clock(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The round has ended, with its readings, when the reference starts."""
    task = replace(bench.task("latency", "dynn"), precision="bfloat16")
    started: list[tuple[object, datetime]] = []

    def noting(runtime: gfnet.Runtime, *rest: Any, **named: Any) -> Measured:
        started.append((runtime, clock.now()))
        return measure_routes(runtime, *rest, **named)

    monkeypatch.setattr(work, "measure_routes", noting)
    outcome = run_task(task, lambda: bench.sources.weights(task), bench.sources.shard(task))
    (loaded,) = worker._models.values()
    assert [runtime is loaded for runtime, _ in started] == [False, True]
    (round_,) = outcome.tables["rounds"].to_pylist()
    assert started[0][1] < round_["ended_at"] <= started[1][1]
    assert outcome.tables["records"].num_rows == 20


def test_images_that_nobody_could_decode_are_not_compared(bench: Bench) -> None:
    """The others are; a shard of nothing else leaves no row."""
    for kind in ("exits", "latency"):
        task = replace(bench.task(kind, "flat"), precision="bfloat16")
        images = bench.sources.shard(task)
        column = images.column("image").to_pylist()
        for broken, compared in ((1, [19]), (20, [])):
            spoiled = images.set_column(3, "image", [[*[b"x"] * broken, *column[broken:]]])
            outcome = run_task(task, lambda: bench.sources.weights(task), spoiled)  # noqa: B023
            assert not outcome.error
            table = outcome.tables.get("reference_agreement")
            assert (table.column("images").to_pylist() if table else []) == compared


def test_a_static_model_leaves_at_its_last_block(bench: Bench) -> None:
    """One exit, no gate, no threshold."""
    rows = bench.rows(bench.task("latency", "flat"), "records")
    assert set(rows["exit_block"]) == {2}
    assert set(rows["gate_score"]) == set(rows["threshold"]) == {None}
    exits = bench.rows(bench.task("exits", "flat"), "exits")
    assert len(exits["image_id"]) == 20


def test_a_nan_gate_is_nan_in_exits(bench: Bench, tmp_path: Path) -> None:
    """NaN says that a gate failed, NULL that there is none."""
    task = bench.task("exits", "dynn")
    model = bench.model(task)
    torch.nn.init.constant_(model.get_submodule("gates.1.linear").get_parameter("bias"), math.nan)
    gfnet.save_checkpoint(model, tmp_path / "nan.safetensors")
    weights = (tmp_path / "nan.safetensors").read_bytes()
    task = replace(task, checkpoint_sha256="nan")
    outcome = run_task(task, lambda: weights, bench.sources.shard(task))
    table = outcome.tables["exits"].to_pydict()
    scores = dict(zip(table["exit_block"], table["gate_score"], strict=True))
    assert math.isnan(scores[1])
    assert scores[3] is not None
    assert scores[4] is None


def test_weights_are_fetched_once(bench: Bench) -> None:
    """The worker keeps the models it has loaded, up to a number."""
    task = bench.task("latency", "flat")
    fetched = []

    def weights() -> bytes:
        fetched.append(1)
        return bench.sources.weights(task)

    for _ in range(3):
        assert not run_task(task, weights, bench.sources.shard(task)).error
    assert len(fetched) == 1
    for number in range(worker.KEPT_MODELS):
        other = replace(task, checkpoint_sha256=str(number))
        run_task(other, weights, bench.sources.shard(task))
    assert len(worker._models) == worker.KEPT_MODELS
    run_task(task, weights, bench.sources.shard(task))
    assert len(fetched) == worker.KEPT_MODELS + 2


def test_a_failure_is_an_outcome(bench: Bench) -> None:
    """Whatever goes wrong comes back with its traceback; the worker lives on."""
    task = replace(bench.task("exits", "flat"), device="cuda")
    outcome = run_task(task, lambda: b"", bench.sources.shard(task))
    assert "sees no device 'cuda'" in outcome.error
    broken = run_task(bench.task("exits", "flat"), lambda: b"broken", bench.sources.shard(task))
    assert "CheckpointError" in broken.error
    assert broken.node is not None
    assert not broken.is_lost


def test_the_node_says_whether_its_clocks_are_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As its files do when its task begins; where they say nothing it is unknown."""
    monkeypatch.setattr(node_module, "ROOT", tmp_path)
    device = use_device("cpu")
    assert describe_node("r", device).are_clocks_locked is None
    cpufreq = tmp_path / "sys/devices/system/cpu/cpu0/cpufreq"
    cpufreq.mkdir(parents=True)
    (cpufreq / "scaling_governor").write_text("schedutil\n")
    for least_khz, is_locked in ((729600, False), (1510400, True)):
        (cpufreq / "scaling_min_freq").write_text(f"{least_khz}\n")
        (cpufreq / "scaling_max_freq").write_text("1510400\n")
        assert describe_node("r", device).are_clocks_locked is is_locked


def test_an_outcome_has_the_time_of_its_nodes_clock(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By which the driver tells a clock that is minutes off."""
    monkeypatch.setattr(worker, "time", SimpleNamespace(time=lambda: 7e8, perf_counter=lambda: 0.0))
    task = bench.task("exits", "flat")
    outcome = run_task(task, lambda: bench.sources.weights(task), bench.sources.shard(task))
    assert outcome.ended_s == pytest.approx(7e8)
    assert "min behind the driver's" in with_clock_remark(outcome, 7e8 + 300).note


def test_undecodable_images_are_named_in_the_note(bench: Bench) -> None:
    """The others go on; a shard of nothing else gives no rows, and no failure of the worker."""
    task = bench.task("exits", "flat")
    images = bench.sources.shard(task)
    column = images.column("image").to_pylist()
    spoiled = images.set_column(3, "image", [[b"x", *column[1:]]])
    outcome = run_task(task, lambda: bench.sources.weights(task), spoiled)
    assert outcome.images == 19
    path, image_id = images.column("path")[0].as_py(), images.column("image_id")[0].as_py()
    assert outcome.note.startswith(f"1 image not decoded: {path} (image_id {image_id}): ")
    assert image_id not in outcome.tables["exits"].column("image_id").to_pylist()
    nothing = images.set_column(3, "image", [[b"x"] * 20])
    for kind in ("exits", "latency", "profile"):
        task = bench.task(kind, "flat")
        outcome = run_task(task, lambda: bench.sources.weights(task), nothing)  # noqa: B023
        assert (outcome.images, outcome.tables, outcome.error) == (0, {}, "")
        assert "20 images not decoded" in outcome.note
        assert outcome.note.endswith("; and 15 more")


def test_the_node_says_why_figures_are_missing() -> None:
    """What is not read is NULL, and the note says so."""
    row = describe_node("r", use_device("cpu"))
    assert isinstance(row, storage.NodeRow)
    assert (row.power_source, row.accelerator, row.are_clocks_locked) == (None, None, None)
    assert str(row.note).startswith("power: no source: ina3221 (no hwmon device of that name)")
    assert row.torch == torch.__version__.split("+")[0] or row.torch == torch.__version__
