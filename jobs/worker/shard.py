"""A shard of images as every kind of task has it, and the warm-up of those under the clock."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

import gfnet
from jobs.machine.conditions import Watch
from jobs.plan.task import Task
from jobs.worker.input_pipeline import Pipeline
from jobs.worker.timing import warm_up


@dataclass(frozen=True)
class ShardImages:
    """A shard's images as lists and arrays, in the order they run."""

    image_ids: NDArray[np.int64]
    labels: NDArray[np.int64]
    encoded: list[bytes | None]
    paths: list[str | None]


def warm_up_for(
    task: Task,
    runtime: gfnet.Runtime,
    pipeline: Pipeline,
    shard: ShardImages,
    *,
    watch: Watch,
) -> None:
    """Send the task's warm-up images out at every exit; the watch begins before the last pass."""
    warm_up(
        runtime,
        pipeline,
        pipeline.device,
        shard.encoded,
        gates=len(task.exit_blocks),
        batch_size=task.batch_size,
        images=task.warmup_images,
        before_last_pass=watch.begin,
    )
