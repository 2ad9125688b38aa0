"""Exit costs: the time and energy of each exit, measured by forcing images out at it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import gfnet
import storage
from jobs.machine.conditions import Watch, machine_of
from jobs.machine.power.protocol import IDLE_AFTER, IDLE_BEFORE
from jobs.worker.rows import power_rows, round_row
from jobs.worker.shard import Work
from jobs.worker.timing import MS_PER_NS, TimedShard, forced_exits, no_garbage_collection


def exit_cost_rows(work: Work) -> dict[str, Any]:
    """Force the shard out at every exit and time it: one row per image and exit; one round.

    The timed exits alternate, so for energy each exit is forced again on its own, for as long as a
    power window needs.
    """
    import torch

    task, meter = work.task, work.meter
    watch = Watch(machine_of(work.device))
    forced = list(zip(work.all_exits, forced_exits(work.gates), strict=True))
    with torch.inference_mode(), meter:
        meter.idle(IDLE_BEFORE)
        work.warm_up(watch)
        measured = measure_exits(work.runtime, work.timed, work.gates)
        # Reversed every other round, so that a steady drift affects all exits alike.
        for block, thresholds in reversed(forced) if task.round % 2 else forced:
            if not (meter.is_on and measured.places):
                break
            with no_garbage_collection(), meter.active(block) as window:
                run_on(work.runtime, work.timed, thresholds, window.is_short)
        conditions = watch.end()
        meter.idle(IDLE_AFTER)
    if not measured.places:
        return {}
    blocks = np.asarray(work.all_exits, dtype=np.int32)
    columns: dict[str, Any] = {
        "run_id": task.run_id,
        "cell_id": task.cell_id,
        "round": task.round,
        "image_id": work.shard.image_ids[np.asarray(measured.places)],
        "exit_block": blocks[np.asarray(measured.exits)],
        "forward_ms": measured.forward_ms,
    }
    table = storage.build_table("exit_costs", columns)
    tables = {"exit_costs": table} | round_row(task, conditions)
    return tables | power_rows(task, meter.columns())


@dataclass
class MeasuredExits:
    """Timings of images forced out at every exit; each list has one value per image and exit.

    Attributes:
        places: positions of the images in the shard.
        exits: index of the exit, from 0; the last block's exit is the last.
        forward_ms: the image's share of its batch's time.
    """

    places: list[int] = field(default_factory=list)
    exits: list[int] = field(default_factory=list)
    forward_ms: list[float] = field(default_factory=list)


@no_garbage_collection()
def measure_exits(runtime: gfnet.Runtime, shard: TimedShard, gates: int) -> MeasuredExits:
    """Time every image of a shard at every exit, including the gates before it.

    The exits alternate batch by batch, forwards and backwards.
    """
    measured = MeasuredExits()
    for batch in shard.batches(enumerate(forced_exits(gates))):
        number, thresholds = batch.turn
        begin = shard.clock()
        runtime.route(batch.images, thresholds).logits.cpu()
        shard.device.synchronise()
        count = len(batch.kept)
        forward_ms = (shard.clock() - begin) * MS_PER_NS / count
        measured.places += batch.kept
        measured.exits += [number] * count
        measured.forward_ms += [forward_ms] * count
    return measured


@no_garbage_collection()
def run_on(
    runtime: gfnet.Runtime,
    shard: TimedShard,
    thresholds: Sequence[float],
    goes_on: Callable[[], bool],
) -> None:
    """Route a shard's batches as `measure_routes` does, repeatedly while `goes_on()` is true.

    Nothing is recorded: this only fills a power window that must be long enough.
    """
    for batch in shard.batches(goes_on=goes_on):
        runtime.route(batch.images, thresholds).logits.cpu()
        shard.device.synchronise()
