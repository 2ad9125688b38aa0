"""Runs a task by its kind: its rows, its power, and what was not as asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gfnet
from jobs.machine.heartbeat import count_batch
from jobs.machine.power.discovery import describe_power
from jobs.machine.power.recorder import Meter
from jobs.plan.task import Task
from jobs.worker.cpu_pinning import pin_threads
from jobs.worker.exit_costs import exit_cost_rows
from jobs.worker.exits import exit_rows
from jobs.worker.input_pipeline import Pipeline
from jobs.worker.latency import latency_rows
from jobs.worker.memory import Batches, MemoryLackError, first_line, is_out_of_memory
from jobs.worker.profile import profile_rows
from jobs.worker.shard import ShardImages, Work


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


def run_kind(task: Task, model: gfnet.GFNet, pipeline: Pipeline, shard: ShardImages) -> Done:
    """Do a task; where it is timed, on no more processors than its threads.

    Raises:
        gfnet.UnavailableError: its engine, or what it measures, is not to be had here.
        MemoryLackError: there is too little memory for its batches.
    """
    runtime = gfnet.runtime(task.runtime, model, threads=task.threads, precision=task.precision)
    count_batch()
    meter = Meter(task.model, task.energy, describe_power(pipeline.device))
    batches = Batches(task.batch_size, pipeline.device.free)
    try:
        with pin_threads(task.threads if task.is_timed else 0) as why_not:
            tables = ROWS[task.kind](Work(task, model, runtime, pipeline, shard, meter, batches))
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


ROWS: dict[str, Callable[[Work], dict[str, Any]]] = {
    "exits": exit_rows,
    "latency": latency_rows,
    "exit_costs": exit_cost_rows,
    "profile": profile_rows,
}
"""By kind of cell, what makes its rows: tables by name."""
