"""A task with all that makes its rows, as every kind of cell is given it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

import gfnet
from jobs.machine.conditions import Watch
from jobs.machine.devices import Device
from jobs.machine.power.recorder import Meter
from jobs.plan.task import Task
from jobs.worker.input_pipeline import Pipeline
from jobs.worker.memory import Batches
from jobs.worker.timing import TimedShard, warm_up


@dataclass(frozen=True)
class ShardImages:
    """A shard's images as lists and arrays, in the order they run."""

    image_ids: NDArray[np.int64]
    labels: NDArray[np.int64]
    encoded: list[bytes | None]
    paths: list[str | None]


@dataclass(frozen=True)
class Work:
    """What a kind of cell makes rows of.

    Attributes:
        task: what to do.
        model: loaded, on the device.
        runtime: the model on the task's engine; the model itself on the reference.
        pipeline: prepares batches for the device.
        shard: the images.
        meter: of power; off where no energy is asked for.
        batches: of what runs without a clock, which halve where memory is short.
    """

    task: Task
    model: gfnet.GFNet
    runtime: gfnet.Runtime
    pipeline: Pipeline
    shard: ShardImages
    meter: Meter
    batches: Batches

    @property
    def device(self) -> Device:
        """Where it runs."""
        return self.pipeline.device

    @property
    def timed(self) -> TimedShard:
        """The shard under the clock."""
        return TimedShard(self.pipeline, self.shard.encoded, self.task.batch_size)

    @property
    def gates(self) -> int:
        """Enabled exits but the last."""
        return len(self.task.exit_blocks)

    @property
    def all_exits(self) -> tuple[int, ...]:
        """The block after each enabled exit, the last block included."""
        return (*self.task.exit_blocks, self.model.config.last_block)

    def warm_up(self, watch: Watch) -> None:
        """Send warm-up images out at every exit; the watch begins before the last pass."""
        warm_up(
            self.runtime,
            self.timed,
            gates=self.gates,
            images=self.task.warmup_images,
            before_last_pass=watch.begin,
        )
