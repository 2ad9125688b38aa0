"""Another engine's answers are held against the model's, after the clocks."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
import torch
from support.worker import Bench

import gfnet
from gfnet import runtimes
from gfnet.runtimes.eager import eager
from jobs.common import clock
from jobs.plan.task import Task
from jobs.worker import latency
from jobs.worker import run_task as worker
from jobs.worker.run_task import run_task
from jobs.worker.timing import Measured, measure_routes


@pytest.mark.parametrize("engine", [("torch", "bfloat16"), ("onnx", "float32")])
def test_other_engines_are_held_against_the_model(
    bench: Bench, engine: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the same batch size: of an all-exit pass every exit, of a routed cell what each ran.

    Which engine that is matters not, only that it is another: bfloat16 stands in for ONNX's, whose
    export takes seconds.
    """
    monkeypatch.setattr(runtimes, "_build", lambda _name, model, *_: eager(model, "bfloat16"))
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

    monkeypatch.setattr(latency, "measure_routes", noting)
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
