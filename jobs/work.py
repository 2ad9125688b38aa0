"""What each kind of task turns a shard of images into: the rows of its table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

import gfnet
import storage
from jobs.agreement import compare_exits, compare_routes
from jobs.answers import judge
from jobs.conditions import Watch, machine_of
from jobs.measure import (
    forced_exits,
    measure_exits,
    measure_parts,
    measure_routes,
    no_garbage_collection,
    run_on,
    warm_up,
)
from jobs.memory import Batches, MemoryLackError, first_line, is_out_of_memory
from jobs.pinning import pinned
from jobs.pipeline import Pipeline
from jobs.power.choose import power_of
from jobs.power.meter import Meter
from jobs.power.protocol import IDLE_AFTER, IDLE_BEFORE
from jobs.pulse import beat
from jobs.rows import agreement_row, of_cell, power_rows, round_row
from jobs.task import Task


@dataclass(frozen=True)
class Done:
    """What came of a task.

    Attributes:
        tables: rows by table name.
        note: what was not as asked; empty where all was.
        added_s: seconds that windows of power took beside the work itself.
    """

    tables: dict[str, Any]
    note: str
    added_s: float


def work(task: Task, model: gfnet.GFNet, pipeline: Pipeline, shard: ShardImages) -> Done:
    """Do a task; where it is timed, on no more processors than its threads.

    Raises:
        gfnet.UnavailableError: its engine, or what it measures, is not to be had here.
        MemoryLackError: there is too little memory for its batches.
    """
    runtime = gfnet.runtime(task.runtime, model, threads=task.threads, precision=task.precision)
    beat()
    meter = Meter(task.model, task.energy, power_of(pipeline.device))
    batches = Batches(task.batch_size, pipeline.device.free)
    try:
        with pinned(task.threads if task.is_timed else 0) as why_not:
            tables = WORK[task.kind](task, model, runtime, pipeline, shard, meter, batches)
    except (RuntimeError, MemoryError) as err:
        if not is_out_of_memory(err):
            raise
        raise MemoryLackError(
            f"out of memory at batch size {batches.size} ({first_line(err)}); "
            + (
                "it is part of what is measured, so it is not made smaller: choose a smaller"
                " batch_sizes.latency, or a device with more memory"
                if task.is_timed
                else "choose a device with more memory"
            )
        ) from err
    note = "; ".join(filter(None, (why_not, meter.why_not() if tables else "", batches.note)))
    return Done(tables, note, meter.added_s)


@dataclass(frozen=True)
class ShardImages:
    """A shard's images as lists and arrays, in the order they run."""

    image_ids: NDArray[np.int64]
    labels: NDArray[np.int64]
    encoded: list[bytes | None]
    paths: list[str | None]


def _latency_rows(  # noqa: PLR0917 - what all kinds are given
    task: Task,
    model: gfnet.GFNet,
    runtime: gfnet.Runtime,
    pipeline: Pipeline,
    shard: ShardImages,
    meter: Meter,
    _batches: Batches,
) -> dict[str, Any]:
    """Route the shard under the clock: one row an image in `records`, one in `rounds`.

    Another engine than the reference has one more in `reference_agreement`, of the first round:
    later ones route the same images.
    """
    import torch

    device = pipeline.device
    watch = Watch(machine_of(device))
    route = partial(
        measure_routes,
        runtime,
        pipeline,
        device,
        shard.encoded,
        thresholds=task.thresholds,
        batch_size=task.batch_size,
    )
    with torch.inference_mode(), meter:
        meter.idle(IDLE_BEFORE)
        _warm_up(task, runtime, pipeline, shard, watch=watch)
        with no_garbage_collection(), meter.active() as window:
            measured = route()
            while measured.places and window.is_short():
                route()  # again as a whole, so that the power stays that of these images
        conditions = watch.end()
        meter.idle(IDLE_AFTER)
    places = np.asarray(measured.places, dtype=np.int64)
    if not len(places):
        return {}
    labels = shard.labels[places]
    last = model.config.last_block
    exits = zip(measured.gate_scores, measured.exit_blocks, strict=True)
    columns: dict[str, Any] = {
        "round": task.round,
        "image_id": shard.image_ids[places],
        "label": labels,
        "exit_block": measured.exit_blocks,
        # The last block has no gate: NULL there, where NaN would say that a gate failed.
        "gate_score": [None if block == last else score for score, block in exits],
        "forward_ms": measured.forward_ms,
        "elapsed_ms": measured.elapsed_ms,
        "started_at": measured.started_at,
    }
    columns |= judge(np.stack(measured.logits), labels).columns() | of_cell(task, device)
    tables = {"records": storage.build_table("records", columns)} | round_row(task, conditions)
    tables |= power_rows(task, meter.columns())
    if runtime is model or task.round:
        return tables
    with torch.inference_mode():  # the same protocol; its times are thrown away
        reference = measure_routes(
            model,
            pipeline,
            device,
            shard.encoded,
            thresholds=task.thresholds,
            batch_size=task.batch_size,
        )
    return tables | agreement_row(task, compare_routes(measured, reference, last))


def _exit_rows(  # noqa: PLR0917 - what all kinds are given
    task: Task,
    model: gfnet.GFNet,
    runtime: gfnet.Runtime,
    pipeline: Pipeline,
    shard: ShardImages,
    _meter: Meter,
    batches: Batches,
) -> dict[str, Any]:
    """Answer the shard at every exit: one row an image and exit in `exits`.

    Another engine than the reference has one more in `reference_agreement`.
    """
    import torch

    places: list[int] = []
    logits: list[torch.Tensor] = []
    scores: list[torch.Tensor] = []
    features: list[torch.Tensor] = []
    expected: list[gfnet.ExitOutputs] = []

    def answer(batch: range) -> None:
        tensor, kept = pipeline.bulk(shard.encoded, batch)
        if tensor is None:
            return
        outputs = runtime.forward_exits(tensor)
        reference = None if runtime is model else model.forward_exits(tensor)
        # All of a batch or nothing: one that memory does not suffice for is done again.
        answers = outputs.logits.float().cpu(), outputs.gate_scores.float().cpu()
        judged = gfnet.gate_features(outputs.logits).cpu()
        logits.append(answers[0])
        scores.append(answers[1])
        features.append(judged)
        places.extend(kept)
        if reference is not None:
            expected.append(reference)

    with torch.inference_mode():
        batches.run(len(shard.encoded), answer)
    if not places:
        return {}
    blocks = (*task.exit_blocks, model.config.last_block)
    images, answers = len(places), len(places) * len(blocks)
    labels = np.tile(shard.labels[places], len(blocks))
    all_logits, all_scores = torch.cat(logits, dim=1), torch.cat(scores, dim=1)
    max_prob, entropy, margin, _ = torch.cat(features, dim=1).reshape(answers, -1).numpy().T
    columns: dict[str, Any] = {
        "image_id": np.tile(shard.image_ids[places], len(blocks)),
        "label": labels,
        "exit_block": np.repeat(np.asarray(blocks, dtype=np.int32), images),
        # The last block has no gate: NULL there, where NaN says that a gate failed.
        "gate_score": [*all_scores.flatten().tolist(), *[None] * images],
        "max_prob": max_prob,
        "margin": margin,
        "entropy": entropy,
    }
    by_exit = all_logits.reshape(answers, -1).numpy()
    columns |= judge(by_exit, labels).columns() | of_cell(task, pipeline.device)
    tables = {"exits": storage.build_table("exits", columns)}
    if runtime is model:
        return tables
    agreement = compare_exits(
        all_logits.numpy(),
        all_scores.numpy(),
        torch.cat([outputs.logits for outputs in expected], dim=1).cpu().numpy(),
        torch.cat([outputs.gate_scores for outputs in expected], dim=1).cpu().numpy(),
    )
    return tables | agreement_row(task, agreement)


def _exit_cost_rows(  # noqa: PLR0917 - what all kinds are given
    task: Task,
    model: gfnet.GFNet,
    runtime: gfnet.Runtime,
    pipeline: Pipeline,
    shard: ShardImages,
    meter: Meter,
    _batches: Batches,
) -> dict[str, Any]:
    """Send the shard out at every exit under the clock: one row an image and exit; one round.

    The exits take turns, so where energy is asked for each is forced again on its own, for as long
    as a window of power needs.
    """
    import torch

    device = pipeline.device
    watch = Watch(machine_of(device))
    gates = len(task.exit_blocks)
    all_exits = (*task.exit_blocks, model.config.last_block)
    forced = list(zip(all_exits, forced_exits(gates), strict=True))
    with torch.inference_mode(), meter:
        meter.idle(IDLE_BEFORE)
        _warm_up(task, runtime, pipeline, shard, watch=watch)
        measured = measure_exits(
            runtime, pipeline, device, shard.encoded, gates=gates, batch_size=task.batch_size
        )
        # Turned with each round: a steady drift falls on all exits alike.
        for block, thresholds in reversed(forced) if task.round % 2 else forced:
            if not (meter.is_on and measured.places):
                break
            with no_garbage_collection(), meter.active(block) as window:
                run_on(
                    runtime,
                    pipeline,
                    device,
                    shard.encoded,
                    thresholds=thresholds,
                    batch_size=task.batch_size,
                    goes_on=window.is_short,
                )
        conditions = watch.end()
        meter.idle(IDLE_AFTER)
    if not measured.places:
        return {}
    blocks = np.asarray(all_exits, dtype=np.int32)
    columns: dict[str, Any] = {
        "run_id": task.run_id,
        "cell_id": task.cell_id,
        "round": task.round,
        "image_id": shard.image_ids[np.asarray(measured.places)],
        "exit_block": blocks[np.asarray(measured.exits)],
        "forward_ms": measured.forward_ms,
    }
    table = storage.build_table("exit_costs", columns)
    tables = {"exit_costs": table} | round_row(task, conditions)
    return tables | power_rows(task, meter.columns())


def _profile_rows(
    task: Task,
    model: gfnet.GFNet,
    runtime: gfnet.Runtime,
    pipeline: Pipeline,
    shard: ShardImages,
    _meter: Meter,
    _batches: Batches,
) -> dict[str, Any]:
    """Send the shard to the last block with a clock around each part: one row a part."""
    import torch

    device = pipeline.device
    watch = Watch(machine_of(device))
    with torch.inference_mode():
        _warm_up(task, runtime, pipeline, shard, watch=watch)
        parts = measure_parts(
            model,
            pipeline,
            device,
            shard.encoded,
            gates=len(task.exit_blocks),
            batch_size=task.batch_size,
        )
    conditions = watch.end()
    if not parts:
        return {}
    columns: dict[str, Any] = {
        name: [getattr(part, name) for part in parts]
        for name in ("component", "block", "calls", "total_ms", "share")
    }
    columns |= {"run_id": task.run_id, "cell_id": task.cell_id}
    table = storage.build_table("profile", columns)
    return {"profile": table} | round_row(task, conditions)


def _warm_up(
    task: Task,
    runtime: gfnet.Runtime,
    pipeline: Pipeline,
    shard: ShardImages,
    *,
    watch: Watch,
) -> None:
    warm_up(
        runtime,
        pipeline,
        pipeline.device,
        shard.encoded,
        gates=len(task.exit_blocks),
        batch_size=task.batch_size,
        images=task.warmup_images,
        before_last_pass=watch.begin,
    )


# In quotes: the name loads torch, and a driver reads this module too.
Work = Callable[
    [Task, "gfnet.GFNet", "gfnet.Runtime", Pipeline, ShardImages, Meter, Batches], dict[str, Any]
]

WORK: dict[str, Work] = {
    "exits": _exit_rows,
    "latency": _latency_rows,
    "exit_costs": _exit_cost_rows,
    "profile": _profile_rows,
}
"""By kind of task, what makes its rows: tables by name."""
