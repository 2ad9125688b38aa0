"""Routed latency: each image goes through the gates under the clock, once per round."""

from __future__ import annotations

from typing import Any

import numpy as np

import storage
from jobs.machine.conditions import Watch, machine_of
from jobs.machine.power.protocol import IDLE_AFTER, IDLE_BEFORE
from jobs.worker.agreement import compare_routes
from jobs.worker.predictions import collect_predictions
from jobs.worker.rows import agreement_row, cell_columns, power_rows, round_row
from jobs.worker.shard import Work
from jobs.worker.timing import measure_routes, no_garbage_collection


def latency_rows(work: Work) -> dict[str, Any]:
    """Route the shard and time it: one row per image in `records`, one row in `rounds`.

    An engine other than the reference adds one row in `reference_agreement`, in the first round
    only: later rounds route the same images.
    """
    import torch

    task, device, meter = work.task, work.device, work.meter
    watch = Watch(machine_of(device))
    with torch.inference_mode(), meter:
        meter.idle(IDLE_BEFORE)
        work.warm_up(watch)
        with no_garbage_collection(), meter.active() as window:
            measured = measure_routes(work.runtime, work.timed, task.thresholds)
            while measured.places and window.is_short():
                # Repeat the whole shard, so that the power is that of the same images.
                measure_routes(work.runtime, work.timed, task.thresholds)
        conditions = watch.end()
        meter.idle(IDLE_AFTER)
    places = np.asarray(measured.places, dtype=np.int64)
    if not len(places):
        return {}
    labels = work.shard.labels[places]
    last = work.model.config.last_block
    exits = zip(measured.gate_scores, measured.exit_blocks, strict=True)
    columns: dict[str, Any] = {
        "round": task.round,
        "image_id": work.shard.image_ids[places],
        "label": labels,
        "exit_block": measured.exit_blocks,
        # The last block has no gate: NULL there, since NaN would mean that a gate failed.
        "gate_score": [None if block == last else score for score, block in exits],
        "forward_ms": measured.forward_ms,
        "elapsed_ms": measured.elapsed_ms,
        "device_ms": measured.device_ms,
        "started_at": measured.started_at,
    }
    columns |= collect_predictions(np.stack(measured.logits), labels).columns() | cell_columns(
        task, device
    )
    tables = {"records": storage.build_table("records", columns)} | round_row(task, conditions)
    tables |= power_rows(task, meter.columns())
    if work.runtime is work.reference or task.round:
        return tables
    with torch.inference_mode():  # same protocol; its times are discarded
        reference = measure_routes(work.reference, work.timed, task.thresholds)
    return tables | agreement_row(task, compare_routes(measured, reference, last))
