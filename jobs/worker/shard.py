"""A task with everything needed to make its rows; every kind of cell gets it."""

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
from jobs.worker.loading import LoadedModel
from jobs.worker.memory import Batches
from jobs.worker.startup import Startup
from jobs.worker.timing import TimedShard, warm_up


@dataclass(frozen=True)
class ShardImages:
    """A shard's images as lists and arrays, in the order in which they run."""

    image_ids: NDArray[np.int64]
    labels: NDArray[np.int64]
    encoded: list[bytes | None]
    paths: list[str | None]


@dataclass(frozen=True)
class Work:
    """The input from which a kind of cell makes its rows.

    Attributes:
        task: what to do.
        model: loaded, on the device.
        runtime: the model on the task's engine.
        reference: what its answers are compared with: the model itself, or a bundle's graphs in
            ONNX Runtime on the CPU; `runtime`, if that is it.
        pipeline: prepares batches for the device.
        shard: the images.
        meter: power meter; off unless energy is requested.
        batches: batches of untimed passes, which are halved if memory runs out.
        startup: the clock of the task's start.
    """

    task: Task
    model: LoadedModel
    runtime: gfnet.Runtime
    reference: gfnet.Runtime
    pipeline: Pipeline
    shard: ShardImages
    meter: Meter
    batches: Batches
    startup: Startup

    @property
    def device(self) -> Device:
        """The device that the task runs on."""
        return self.pipeline.device

    @property
    def timed(self) -> TimedShard:
        """The shard, as timed passes need it."""
        return TimedShard(self.pipeline, self.shard.encoded, self.task.batch_size)

    @property
    def gates(self) -> int:
        """The number of gates: all enabled exits except the last."""
        return len(self.task.exit_blocks)

    @property
    def all_exits(self) -> tuple[int, ...]:
        """The block before each enabled exit, including the last block."""
        return (*self.task.exit_blocks, self.model.config.last_block)

    def warm_up(self, watch: Watch) -> None:
        """Route warm-up images to every exit; the watch begins before the last pass."""
        warm_up(
            self.runtime,
            self.timed,
            gates=self.gates,
            images=self.task.warmup_images,
            before_last_pass=watch.begin,
            answering=self.startup.answering,
        )
