"""Runs a task by its kind of cell: its rows, its power, and any deviation from the request."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import storage
from jobs.machine.heartbeat import count_batch
from jobs.machine.power.discovery import describe_power
from jobs.machine.power.recorder import Meter
from jobs.plan.task import Task
from jobs.worker.cpu_pinning import pin_threads
from jobs.worker.exit_costs import exit_cost_rows
from jobs.worker.exits import exit_rows
from jobs.worker.input_pipeline import Pipeline
from jobs.worker.latency import latency_rows
from jobs.worker.loading import LoadedModel, put_on_engine
from jobs.worker.memory import Batches, explain_memory_lack
from jobs.worker.profile import profile_rows
from jobs.worker.serving import serving_rows
from jobs.worker.shard import ShardImages, Work
from jobs.worker.startup import Startup
from jobs.worker.throughput import throughput_rows


@dataclass(frozen=True)
class Done:
    """The result of a task.

    Attributes:
        tables: rows by table name.
        note: deviations from the request; empty if there are none.
        added_s: seconds that power windows took in addition to the work itself.
    """

    tables: dict[str, Any]
    note: str
    added_s: float


def run_kind(
    task: Task,
    model: LoadedModel,
    pipeline: Pipeline,
    shard: ShardImages,
    startup: Startup,
    *,
    calibration: Callable[[], Any] | None = None,
) -> Done:
    """Run a task; a timed one runs on no more processors than it has threads.

    `calibration` is as of `jobs.worker.run_task.run_task`.

    Raises:
        gfnet.UnavailableError: its engine, or what it measures, is not available here.
        MemoryLackError: there is too little memory for its engine or its batches.
    """
    with explain_memory_lack(
        lambda: "while its engine was built", "choose another runtime, or a device with more memory"
    ):
        runtime, reference = put_on_engine(task, model, startup, calibration)
    count_batch()
    meter = Meter(task.model, task.energy, describe_power(pipeline.device))
    kind = storage.KINDS[task.kind]
    batches = Batches(task.batch_size, pipeline.device.free)
    advice = (
        "the batch size is part of the measurement, so it is not reduced: choose a smaller"
        f" batch_sizes.{'throughput' if kind.is_by_batch else 'latency'}, or a device with more"
        " memory"
        if task.is_timed
        else "choose a device with more memory"
    )
    with (
        explain_memory_lack(lambda: f"at batch size {batches.size}", advice),
        pin_threads(task.threads if task.is_timed else 0) as why_not,
    ):
        tables = ROWS[task.kind](
            Work(task, model, runtime, reference, pipeline, shard, meter, batches, startup)
        )
    note = "; ".join(filter(None, (why_not, meter.why_not() if tables else "", batches.note)))
    return Done(tables, note, meter.added_s)


ROWS: dict[str, Callable[[Work], dict[str, Any]]] = {
    "exits": exit_rows,
    "latency": latency_rows,
    "exit_costs": exit_cost_rows,
    "profile": profile_rows,
    "throughput": throughput_rows,
    "serving": serving_rows,
}
"""The function that makes a cell's tables, by kind of cell."""
