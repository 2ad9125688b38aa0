"""Tasks, each one shard of one round of one cell, and their outcomes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import storage
from jobs.grid.grid import SHARD_IMAGES
from jobs.machine.power.protocol import EnergyProtocol
from jobs.plan.arrivals import Arrivals


@dataclass(frozen=True)
class Shard:
    """Images `start` to `stop` (excluded) of the data set's fixed shuffle."""

    number: int
    start: int
    stop: int


def cut_shards(images: int) -> tuple[Shard, ...]:
    """Cut a round into pieces of at most SHARD_IMAGES."""
    return _cut(images, SHARD_IMAGES)


@lru_cache  # asked for with every task
def _cut(images: int, size: int) -> tuple[Shard, ...]:
    starts = range(0, images, size)
    return tuple(Shard(n, s, min(s + size, images)) for n, s in enumerate(starts))


def common_threshold(thresholds: tuple[float, ...]) -> float | None:
    """The threshold that all gates share; None if there is no gate, or if they differ."""
    return thresholds[0] if len(set(thresholds)) == 1 else None


@dataclass(frozen=True)
class Task:
    """All that a worker must know apart from weights and images.

    Attributes:
        run_id, cell_id, round, shard: identify the rows.
        position: of a timed task, its index among all that are timed on the device, from 0.
        kind: as `storage.KINDS`.
        model, dataset: names for the rows.
        checkpoint_sha256, dataset_sha256: the weights and images to use; of a bundle its digest.
        exit_blocks: the enabled exits.
        exit_rule: of gfnet.EXIT_RULES, by which images exit.
        thresholds: one per gate, if routed.
        device: the name that the grid asks for.
        runtime, precision, threads, batch_size, warmup_images: as in the plan.
        energy: the windows in which its power is measured; None if the grid asks for no energy.
        graph_precision: of its graphs, if the model is a bundle; None for a checkpoint.
        calibration_sha256: the data set that its graphs are made from, if it is a checkpoint in
            int8.
        calibration_images: how many of that data set.
        arrivals: when requests arrive, if it is served.
    """

    run_id: str
    cell_id: str
    round: int
    shard: Shard
    position: int | None
    kind: str
    model: str
    dataset: str
    checkpoint_sha256: str
    dataset_sha256: str
    exit_blocks: tuple[int, ...]
    thresholds: tuple[float, ...]
    device: str
    runtime: str
    precision: str
    threads: int
    batch_size: int
    warmup_images: int
    energy: EnergyProtocol | None = None
    exit_rule: str = "gate"
    graph_precision: str | None = None
    calibration_sha256: str | None = None
    calibration_images: int | None = None
    arrivals: Arrivals | None = None

    @property
    def threshold(self) -> float | None:
        """As `common_threshold`."""
        return common_threshold(self.thresholds)

    @property
    def is_timed(self) -> bool:
        """Whether its host must run no other task meanwhile."""
        return storage.KINDS[self.kind].is_timed

    @property
    def key(self) -> tuple[str, int, int]:
        """The key of its commit: (cell_id, round, shard)."""
        return self.cell_id, self.round, self.shard.number


@dataclass(frozen=True)
class TaskResources:
    """What a task took of its worker besides time; None: not needed, or not known there.

    Attributes:
        load_s: seconds to load the model, if the worker did not have it.
        build_s: seconds to build its engine, if the worker did not have it.
        first_answer_s: seconds from the checkpoint's bytes to the first batch's answers, if either
            was needed.
        peak_process_bytes: largest resident size of the worker's process.
        peak_device_bytes: most memory of the GPU that torch had handed out.
    """

    load_s: float | None = None
    build_s: float | None = None
    first_answer_s: float | None = None
    peak_process_bytes: int | None = None
    peak_device_bytes: int | None = None


@dataclass(frozen=True)
class Outcome:
    """How a task ended.

    Attributes:
        tables: rows by table name (Arrow tables); empty after a failure.
        node: the machine that ran it.
        images: number of images evaluated.
        busy_s: seconds it took, loading and power windows excluded.
        note: deviations from what was asked; empty if there are none.
        resources: what it took besides time.
        undecoded: the images that could not be evaluated, and why: a text for each, without "; ".
        error: traceback of a failure; empty after a success.
        skipped: why this machine cannot run such tasks at all; empty if it can.
        is_lost: the worker died or its node went away, so that another try makes sense.
        is_untried: it was lost before it began, which does not count as a try.
        is_gone: it was lost with its node, so the loss is attributed to neither.
        is_corrupted: it was lost because its inputs or its rows did not arrive as sent.
        ended_s: when it ended, seconds since the epoch by its node's own clock; None if it was
            lost.
    """

    tables: Mapping[str, Any]
    node: storage.NodeRow | None
    images: int = 0
    busy_s: float = 0.0
    note: str = ""
    undecoded: tuple[str, ...] = ()
    resources: TaskResources = TaskResources()
    error: str = ""
    skipped: str = ""
    is_lost: bool = False
    is_untried: bool = False
    is_gone: bool = False
    is_corrupted: bool = False
    ended_s: float | None = None

    @property
    def noted(self) -> str:
        """What the note of its cell says: `note`, and the images by name."""
        return "; ".join(filter(None, (self.note, *self.undecoded)))
