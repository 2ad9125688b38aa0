"""The measurement protocol: two clocks around every routed batch.

`elapsed_ms` starts with the encoded bytes; decoding, transforming and copying to the device follow,
then the device is synchronised and `forward_ms` starts. Both end with the logits on the host. The
host's monotonic clock is used, since a gate's decision synchronises host and device anyway.

`device_ms` is by the device's own clock, if it has one: from the moment at which the device takes
up the pass until its last result. Waiting for kernels in between is part of it.
"""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from itertools import cycle
from typing import Any

import numpy as np
from numpy.typing import NDArray

import gfnet
from jobs.common.clock import now
from jobs.machine.devices import Device
from jobs.machine.heartbeat import count_batch
from jobs.worker.input_pipeline import Pipeline

Clock = Callable[[], int]
"""Nanoseconds since some fixed moment; never decreases."""

MS_PER_NS = 1e-6


@dataclass
class Measured:
    """Routed images in the order in which they ran; each list has one entry per image.

    Attributes:
        places: positions in the shard.
        logits: (K,) each.
        exit_blocks: the block after which the image exited.
        gate_scores: the gate score at its exit; NaN at the last block.
        forward_ms, elapsed_ms: the image's share of its batch's time, so that 1000 / elapsed_ms is
            the throughput at any batch size.
        device_ms: likewise; None if the device has no clock of its own.
        started_at: when its batch started, naive UTC.
    """

    places: list[int] = field(default_factory=list)
    logits: list[NDArray[np.float32]] = field(default_factory=list)
    exit_blocks: list[int] = field(default_factory=list)
    gate_scores: list[float] = field(default_factory=list)
    forward_ms: list[float] = field(default_factory=list)
    elapsed_ms: list[float] = field(default_factory=list)
    device_ms: list[float | None] = field(default_factory=list)
    started_at: list[datetime] = field(default_factory=list)


def forced_exits(gates: int) -> list[tuple[float, ...]]:
    """Thresholds that force every image out at one exit: one tuple per exit, the last included."""
    stay, leave = math.inf, -math.inf
    return [(stay,) * gate + (leave,) * (gates - gate) for gate in range(gates + 1)]


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Collect garbage now, then not again until the end, so that no collection is timed.

    A nested call collects nothing, so that no collection runs inside a power window either.
    Objects that exist at the first call, such as all of torch, are not scanned again: that took
    0.15 s per round.
    """
    if not gc.isenabled():
        yield
        return
    gc.collect()
    _freeze_once()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@cache
def _freeze_once() -> None:
    """Freeze existing objects once; asking `gc` whether that was done would count them all."""
    gc.freeze()


@dataclass(frozen=True)
class Prepared:
    """A batch on its synchronised device.

    Attributes:
        turn: the turn that it was prepared for.
        images: (B, 3, H, W).
        kept: positions of its images in the shard.
        started_at: when its preparation began, naive UTC.
        began_ns: the same moment on the clock.
    """

    turn: Any
    images: Any
    kept: list[int]
    started_at: datetime
    began_ns: int


@dataclass(frozen=True)
class TimedShard:
    """Encoded images that are copied to a device in batches, with a clock.

    Attributes:
        pipeline: prepares batches on the model's device.
        encoded: the images.
        batch_size: images per batch.
        clock: a fake one in tests.
    """

    pipeline: Pipeline
    encoded: Sequence[bytes | None]
    batch_size: int
    clock: Clock = time.perf_counter_ns

    @property
    def device(self) -> Device:
        """The device that batches are copied to."""
        return self.pipeline.device

    def batches(
        self, turns: Iterable[Any] = (None,), goes_on: Callable[[], bool] | None = None
    ) -> Iterator[Prepared]:
        """Yields every batch once per turn, prepared again each time.

        The order of turns is reversed from batch to batch, so that a drift of the machine affects
        all alike. Preparing again means that the decoder has used the caches last, as for a routed
        image. A batch without a decodable image is skipped.

        Args:
            turns: what to do with each batch.
            goes_on: called before each batch; if given, the shard is repeated until it is false.
        """
        order = list(turns)
        starts = range(0, len(self.encoded), self.batch_size)
        for start in cycle(starts) if goes_on else starts:
            if goes_on and not goes_on():
                return
            places = range(start, min(start + self.batch_size, len(self.encoded)))
            for turn in order:
                count_batch()
                started_at = now()
                self.device.synchronise()
                began_ns = self.clock()
                images, kept = self.pipeline.batch(self.encoded, places)
                if images is None:
                    break
                self.device.synchronise()
                yield Prepared(turn, images, kept, started_at, began_ns)
            else:
                order.reverse()


def warm_up(
    runtime: gfnet.Runtime,
    shard: TimedShard,
    *,
    gates: int,
    images: int,
    before_last_pass: Callable[[], None] | None = None,
    answering: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> None:
    """Route at least `images` images, forcing each exit in turn; nothing is recorded.

    `before_last_pass` is called before the last pass over all exits: whatever it does to the
    caches, they are warm again when the clocks start. Each batch runs within `answering()`.
    """
    paths = forced_exits(gates)
    batches = max(math.ceil(images / shard.batch_size), len(paths))
    for number in range(batches):
        if before_last_pass and number == batches - len(paths):
            before_last_pass()
        first = number * shard.batch_size
        places = [(first + i) % len(shard.encoded) for i in range(shard.batch_size)]
        with answering():
            tensor, _ = shard.pipeline.batch(shard.encoded, places)
            if tensor is not None:
                runtime.route(tensor, paths[number % len(paths)]).logits.cpu()
        count_batch()
    shard.device.synchronise()


@no_garbage_collection()
def measure_routes(
    runtime: gfnet.Runtime, shard: TimedShard, thresholds: Sequence[float]
) -> Measured:
    """Route every image of a shard and time it with all clocks.

    Args:
        runtime: the model on its engine.
        shard: its images.
        thresholds: one per gate.
    """
    measured, timer = Measured(), shard.device.timer
    for batch in shard.batches():
        ready = shard.clock()
        if timer:
            timer.start()
        routed = runtime.route(batch.images, thresholds)
        if timer:
            timer.stop()
        logits = routed.logits.cpu()
        shard.device.synchronise()
        end = shard.clock()
        count = len(batch.kept)
        _record(measured, batch, logits, routed)
        measured.device_ms += [timer.elapsed_ms() / count if timer else None] * count
        measured.forward_ms += [(end - ready) * MS_PER_NS / count] * count
        measured.elapsed_ms += [(end - batch.began_ns) * MS_PER_NS / count] * count
    return measured


def _record(measured: Measured, batch: Prepared, logits: Any, routed: gfnet.RoutedOutputs) -> None:
    """Record a batch's outputs, outside all clocks."""
    measured.places += batch.kept
    measured.logits += list(logits.float().numpy())
    measured.exit_blocks += routed.exit_block.tolist()
    measured.gate_scores += routed.gate_score.tolist()
    measured.started_at += [batch.started_at] * len(batch.kept)
