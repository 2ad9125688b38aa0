"""Routed latency: each image goes through the gates under the clock, once a round."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

import gfnet
import storage
from jobs.machine.conditions import Watch, machine_of
from jobs.machine.power.protocol import IDLE_AFTER, IDLE_BEFORE
from jobs.machine.power.recorder import Meter
from jobs.plan.task import Task
from jobs.worker.agreement import compare_routes
from jobs.worker.input_pipeline import Pipeline
from jobs.worker.memory import Batches
from jobs.worker.predictions import judge
from jobs.worker.rows import agreement_row, of_cell, power_rows, round_row
from jobs.worker.shard import ShardImages, warm_up_for
from jobs.worker.timing import measure_routes, no_garbage_collection


def latency_rows(  # noqa: PLR0917 - what all kinds are given
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
        warm_up_for(task, runtime, pipeline, shard, watch=watch)
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
