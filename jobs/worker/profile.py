"""Profiles: what each part of the model takes, down to the last block."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gfnet
import storage
from gfnet.profiling import OTHER
from jobs.machine.conditions import Watch, machine_of
from jobs.machine.devices import Device
from jobs.machine.heartbeat import beat
from jobs.machine.power.recorder import Meter
from jobs.plan.task import Task
from jobs.worker.input_pipeline import Pipeline
from jobs.worker.memory import Batches
from jobs.worker.rows import round_row
from jobs.worker.shard import ShardImages, warm_up_for
from jobs.worker.timing import MS_PER_NS, Clock, forced_exits, no_garbage_collection


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


@dataclass(frozen=True)
class PartTime:
    """What one part of the forward passes took, over all images.

    Attributes:
        component, block: as `gfnet.profiling.Part`; or `profiling`, what the clocks inside cost.
        calls: how often it ran.
        total_ms: milliseconds.
        share: of the passes with clocks inside, 0..1; all parts but `profiling` sum to 1.
    """

    component: str
    block: int | None
    calls: int
    total_ms: float
    share: float


def measure_parts(
    model: gfnet.GFNet,
    pipeline: Pipeline,
    device: Device,
    encoded: Sequence[bytes | None],
    *,
    gates: int,
    batch_size: int,
    clock: Clock = time.perf_counter_ns,
) -> list[PartTime]:
    """Send every image of a shard past all gates to the last block, with a clock around each part.

    Each batch also runs without those clocks, in turned order: with, without, without, with. The
    difference is what profiling cost; noise may make it negative. Arguments as `measure_routes`.

    Returns: nothing where no image could be decoded.
    """
    profiler = gfnet.Profiler(model, device.synchronise, clock)
    stay = forced_exits(gates)[-1]
    plain_ns = 0
    order = [True, False]

    def forward(images: Any) -> Any:
        return model.route(images, stay).logits.cpu()

    with no_garbage_collection():
        for start in range(0, len(encoded), batch_size):
            places = range(start, min(start + batch_size, len(encoded)))
            for is_profiled in order:
                beat()
                tensor, _ = pipeline.batch(encoded, places)
                if tensor is None:
                    break
                if is_profiled:
                    profiler.run(forward, tensor)
                    continue
                device.synchronise()
                begin = clock()
                forward(tensor)
                device.synchronise()
                plain_ns += clock() - begin
            else:
                order.reverse()
    total_ns = profiler.spent_ns.total()
    parts = [
        PartTime(*part, profiler.calls[part], spent * MS_PER_NS, spent / total_ns)
        for part, spent in profiler.spent_ns.items()
    ]
    if parts:
        cost_ns = total_ns - plain_ns
        passes = profiler.calls[OTHER]
        cost = PartTime("profiling", None, passes, cost_ns * MS_PER_NS, cost_ns / total_ns)
        parts.append(cost)
    return parts
