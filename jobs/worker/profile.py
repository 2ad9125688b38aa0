"""Profiles: what each part of the model takes, down to the last block."""

from __future__ import annotations

from typing import Any

import gfnet
import storage
from jobs.machine.conditions import Watch, machine_of
from jobs.machine.power.recorder import Meter
from jobs.plan.task import Task
from jobs.worker.input_pipeline import Pipeline
from jobs.worker.memory import Batches
from jobs.worker.rows import round_row
from jobs.worker.shard import ShardImages, warm_up_for
from jobs.worker.timing import measure_parts


def profile_rows(
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
        warm_up_for(task, runtime, pipeline, shard, watch=watch)
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
