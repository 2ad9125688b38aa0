"""The task: one shard of one round of one cell, as it travels to a worker and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import storage
from jobs.grid.grid import SHARD_IMAGES
from jobs.machine.power.protocol import EnergyProtocol


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
    """The one threshold of all gates; None where there is no gate, or where they differ."""
    return thresholds[0] if len(set(thresholds)) == 1 else None


@dataclass(frozen=True)
class Task:
    """All that a worker must know beside weights and images.

    Attributes:
        run_id, cell_id, round, shard: which rows these are.
        position: of a timed task, its place among all that are timed on the device, from 0.
        kind: as `storage.KINDS`.
        model, dataset: names for the rows.
        checkpoint_sha256, dataset_sha256: what weights and images to use.
        exit_blocks: the enabled exits.
        thresholds: one a gate, where routed.
        device: the name asked for.
        runtime, precision, threads, batch_size, warmup_images: as in the plan.
        energy: the windows that its power is taken in; None where no energy is asked for.
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

    @property
    def threshold(self) -> float | None:
        """As `common_threshold`."""
        return common_threshold(self.thresholds)

    @property
    def is_timed(self) -> bool:
        """Whether the host that does it must run nothing else of ours meanwhile."""
        return storage.KINDS[self.kind].is_timed

    @property
    def key(self) -> tuple[str, int, int]:
        """What a commit is known by."""
        return self.cell_id, self.round, self.shard.number


@dataclass(frozen=True)
class Outcome:
    """What a worker sends back.

    Attributes:
        tables: rows by table name (Arrow tables); empty after a failure.
        node: the machine that worked.
        images: how many were evaluated.
        busy_s: seconds it took, loading and windows of power excluded.
        note: what was not as asked, and images that could not be evaluated; empty where there is
            neither.
        error: traceback of a failure; empty after a success.
        skipped: why this machine cannot do such work at all; empty where it can.
        is_lost: the worker died or its node went away, so that another try makes sense.
        is_untried: it was lost before it began, which is no try.
        is_gone: it was lost with its node, which says nothing of either.
        is_corrupted: it was lost since what it needs, or its rows, did not arrive as sent.
        ended_s: when it ended, since the epoch by its node's own clock; None where it was lost.
    """

    tables: Mapping[str, Any]
    node: storage.NodeRow | None
    images: int = 0
    busy_s: float = 0.0
    note: str = ""
    error: str = ""
    skipped: str = ""
    is_lost: bool = False
    is_untried: bool = False
    is_gone: bool = False
    is_corrupted: bool = False
    ended_s: float | None = None
