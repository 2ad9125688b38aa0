"""Exit costs: what each exit takes, forced one by one under the clock."""

from __future__ import annotations

from typing import Any

import numpy as np

import gfnet
import storage
from jobs.machine.conditions import Watch, machine_of
from jobs.machine.power.protocol import IDLE_AFTER, IDLE_BEFORE
from jobs.machine.power.recorder import Meter
from jobs.plan.task import Task
from jobs.worker.input_pipeline import Pipeline
from jobs.worker.memory import Batches
from jobs.worker.rows import power_rows, round_row
from jobs.worker.shard import ShardImages, warm_up_for
from jobs.worker.timing import forced_exits, measure_exits, no_garbage_collection, run_on


def exit_cost_rows(  # noqa: PLR0917 - what all kinds are given
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
        warm_up_for(task, runtime, pipeline, shard, watch=watch)
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
