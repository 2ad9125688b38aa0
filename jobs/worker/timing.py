"""The measurement protocol: two clocks around every routed batch.

`elapsed_ms` starts with the encoded bytes; decoding, transforming and copying to the device follow,
then the device is synchronised and `forward_ms` starts. Both end with the logits on the host. The
host's monotonic clock serves, since a gate's decision synchronises host and device anyway.
"""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
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
"""Nanoseconds since some fixed moment, never going back."""

MS_PER_NS = 1e-6


@dataclass
class Measured:
    """Routed images in the order they ran; each list has one value, or one row, an image.

    Attributes:
        places: their places in the shard.
        logits: (K,) each.
        exit_blocks: the block each left after.
        gate_scores: the score it left with; NaN at the last block.
        forward_ms, elapsed_ms: an image's share of its batch, so that 1000 / elapsed_ms is
            throughput at any batch size.
        started_at: when its batch started, naive UTC.
    """

    places: list[int] = field(default_factory=list)
    logits: list[NDArray[np.float32]] = field(default_factory=list)
    exit_blocks: list[int] = field(default_factory=list)
    gate_scores: list[float] = field(default_factory=list)
    forward_ms: list[float] = field(default_factory=list)
    elapsed_ms: list[float] = field(default_factory=list)
    started_at: list[datetime] = field(default_factory=list)


def forced_exits(gates: int) -> list[tuple[float, ...]]:
    """Thresholds that send every image out at each exit in turn, the last block's included."""
    stay, leave = math.inf, -math.inf
    return [(stay,) * gate + (leave,) * (gates - gate) for gate in range(gates + 1)]


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Collect now, then not again until the end: a collection inside a clock is not the model's.

    Inside another one nothing is collected: nor is it the model's inside a window of power.
    What a process holds at its first one, such as all of torch, is not looked through again: that
    took 0.15 s a round.
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
    """Look no more at what is there now; to ask `gc` whether that was done is to count it all."""
    gc.freeze()


@dataclass(frozen=True)
class Prepared:
    """A batch on its device, which has nothing left to do.

    Attributes:
        turn: what it was prepared for.
        images: (B, 3, H, W).
        kept: the places of its images in the shard.
        started_at: when its preparation began, naive UTC.
        began_ns: the same by the clock.
    """

    turn: Any
    images: Any
    kept: list[int]
    started_at: datetime
    began_ns: int


@dataclass(frozen=True)
class TimedShard:
    """Encoded images that go to a device in batches, with a clock.

    Attributes:
        pipeline: prepares batches, on the device that the model is on.
        encoded: the images.
        batch_size: how many run together.
        clock: a fake one in tests.
    """

    pipeline: Pipeline
    encoded: Sequence[bytes | None]
    batch_size: int
    clock: Clock = time.perf_counter_ns

    @property
    def device(self) -> Device:
        """Where batches go."""
        return self.pipeline.device

    def batches(
        self, turns: Iterable[Any] = (None,), goes_on: Callable[[], bool] | None = None
    ) -> Iterator[Prepared]:
        """Every batch once per turn, prepared anew each time.

        The turns go there and back from batch to batch, so that a drift of the machine falls on all
        alike. Preparing anew leaves the caches to the decoder, as it does for a routed image. A
        batch of which no image can be decoded has no turn.

        Args:
            turns: what to do with each batch.
            goes_on: asked before each batch; where given, the shard starts over until it says no.
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
) -> None:
    """Route at least `images` images, taking every exit's path in turn; nothing is recorded.

    Before the last pass over all paths `before_last_pass` is called: whatever it does to the
    caches, they are warm again when the clocks start.
    """
    paths = forced_exits(gates)
    batches = max(math.ceil(images / shard.batch_size), len(paths))
    for number in range(batches):
        if before_last_pass and number == batches - len(paths):
            before_last_pass()
        first = number * shard.batch_size
        places = [(first + i) % len(shard.encoded) for i in range(shard.batch_size)]
        tensor, _ = shard.pipeline.batch(shard.encoded, places)
        if tensor is not None:
            runtime.route(tensor, paths[number % len(paths)]).logits.cpu()
        count_batch()
    shard.device.synchronise()


@no_garbage_collection()
def measure_routes(
    runtime: gfnet.Runtime, shard: TimedShard, thresholds: Sequence[float]
) -> Measured:
    """Route every image of a shard under both clocks.

    Args:
        runtime: the model on its engine.
        shard: its images.
        thresholds: one per gate.
    """
    measured = Measured()
    for batch in shard.batches():
        ready = shard.clock()
        routed = runtime.route(batch.images, thresholds)
        logits = routed.logits.cpu()
        shard.device.synchronise()
        end = shard.clock()
        count = len(batch.kept)
        _record(measured, batch, logits, routed)
        measured.forward_ms += [(end - ready) * MS_PER_NS / count] * count
        measured.elapsed_ms += [(end - batch.began_ns) * MS_PER_NS / count] * count
    return measured


def _record(measured: Measured, batch: Prepared, logits: Any, routed: gfnet.RoutedOutputs) -> None:
    """Take down a batch's answers, outside both clocks."""
    measured.places += batch.kept
    measured.logits += list(logits.float().numpy())
    measured.exit_blocks += routed.exit_block.tolist()
    measured.gate_scores += routed.gate_score.tolist()
    measured.started_at += [batch.started_at] * len(batch.kept)
