"""Profiles: how long each part of the model takes, up to the last block."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gfnet
import storage
from gfnet.bundle.profiling import StageProfiler
from gfnet.bundle.stages import BundleRuntime
from gfnet.profiling import OTHER
from jobs.machine.conditions import Watch, machine_of
from jobs.worker.rows import round_row
from jobs.worker.shard import Work
from jobs.worker.timing import MS_PER_NS, TimedShard, forced_exits, no_garbage_collection


def profile_rows(work: Work) -> dict[str, Any]:
    """Run the shard to the last block and time each part: one row per part."""
    import torch

    task = work.task
    watch = Watch(machine_of(work.device))
    with torch.inference_mode():
        work.warm_up(watch)
        parts = measure_parts(work.runtime, work.timed, work.gates)
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
    """Time of one part of the forward passes, over all images.

    Attributes:
        component, block: as `gfnet.profiling.Part`; or `profiling`, the cost of the clocks inside.
        calls: how often it ran.
        total_ms: milliseconds.
        share: share of the passes with clocks inside, 0..1; all parts but `profiling` sum to 1.
    """

    component: str
    block: int | None
    calls: int
    total_ms: float
    share: float


@no_garbage_collection()
def measure_parts(runtime: gfnet.Runtime, shard: TimedShard, gates: int) -> list[PartTime]:
    """Run every image of a shard past all gates to the last block, and time each part.

    Each batch also runs without those clocks, in alternating order: with, without, without, with.
    The difference is the cost of profiling; noise may make it negative.

    Args:
        runtime: eager float32, the model itself; or a bundle on any engine.
        shard: its images.
        gates: number of gates.

    Returns: an empty list if no image could be decoded.
    """
    profiler: gfnet.Profiler | StageProfiler
    clocks = shard.device.synchronise, shard.clock
    if isinstance(runtime, BundleRuntime):
        profiler = StageProfiler(runtime, *clocks)
        profiled: gfnet.Runtime = profiler.timed
    else:
        assert isinstance(runtime, gfnet.GFNet)
        profiler, profiled = gfnet.Profiler(runtime, *clocks), runtime
    stay = forced_exits(gates)[-1]
    plain_ns = 0

    def forward(through: gfnet.Runtime, images: Any) -> Any:
        return through.route(images, stay).logits.cpu()

    for batch in shard.batches((True, False)):
        is_profiled = batch.turn
        if is_profiled:
            profiler.run(forward, profiled, batch.images)
            continue
        begin = shard.clock()
        forward(runtime, batch.images)
        shard.device.synchronise()
        plain_ns += shard.clock() - begin
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
