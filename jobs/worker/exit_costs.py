"""Exit costs: what each exit takes, forced one by one under the clock."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any

import numpy as np

import gfnet
import storage
from jobs.machine.conditions import Watch, machine_of
from jobs.machine.devices import Device
from jobs.machine.heartbeat import beat
from jobs.machine.power.protocol import IDLE_AFTER, IDLE_BEFORE
from jobs.machine.power.recorder import Meter
from jobs.plan.task import Task
from jobs.worker.input_pipeline import Pipeline
from jobs.worker.memory import Batches
from jobs.worker.rows import power_rows, round_row
from jobs.worker.shard import ShardImages, warm_up_for
from jobs.worker.timing import MS_PER_NS, Clock, forced_exits, no_garbage_collection


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


@dataclass
class MeasuredExits:
    """Images sent out at every exit in turn; each list has one value an image and exit.

    Attributes:
        places: of the images in the shard.
        exits: the exit, counted from 0, the last block's last.
        forward_ms: an image's share of its batch.
    """

    places: list[int] = field(default_factory=list)
    exits: list[int] = field(default_factory=list)
    forward_ms: list[float] = field(default_factory=list)


def measure_exits(
    runtime: gfnet.Runtime,
    pipeline: Pipeline,
    device: Device,
    encoded: Sequence[bytes | None],
    *,
    gates: int,
    batch_size: int,
    clock: Clock = time.perf_counter_ns,
) -> MeasuredExits:
    """Send every image of a shard out at every exit: what leaving there costs, gates included.

    The exits take turns image by image, forwards and backwards, so that a drift of the machine
    falls on all alike. Arguments as `measure_routes`.
    """
    measured = MeasuredExits()
    paths = list(enumerate(forced_exits(gates)))
    with no_garbage_collection():
        for start in range(0, len(encoded), batch_size):
            places = range(start, min(start + batch_size, len(encoded)))
            for number, thresholds in paths:
                beat()
                # Prepared anew each time, as a routed image is: decoding leaves the caches to it.
                tensor, kept = pipeline.batch(encoded, places)
                if tensor is None:
                    break
                device.synchronise()
                begin = clock()
                runtime.route(tensor, thresholds).logits.cpu()
                device.synchronise()
                forward_ms = (clock() - begin) * MS_PER_NS / len(kept)
                measured.places += kept
                measured.exits += [number] * len(kept)
                measured.forward_ms += [forward_ms] * len(kept)
            else:
                paths.reverse()
    return measured


def run_on(
    runtime: gfnet.Runtime,
    pipeline: Pipeline,
    device: Device,
    encoded: Sequence[bytes | None],
    *,
    thresholds: Sequence[float],
    batch_size: int,
    goes_on: Callable[[], bool],
) -> None:
    """Route a shard's batches, over and over while `goes_on()`, as `measure_routes` does.

    Nothing is recorded: this is for a window of power that must be long enough.
    """
    with no_garbage_collection():
        starts = cycle(range(0, len(encoded), batch_size))
        while goes_on():
            beat()
            start = next(starts)
            device.synchronise()
            tensor, _ = pipeline.batch(encoded, range(start, min(start + batch_size, len(encoded))))
            if tensor is not None:
                device.synchronise()
                runtime.route(tensor, thresholds).logits.cpu()
                device.synchronise()
