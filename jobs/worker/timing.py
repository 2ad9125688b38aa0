"""The measurement protocol: two clocks around every routed batch.

`elapsed_ms` starts with the encoded bytes; decoding, transforming and copying to the device follow,
then the device is synchronised and `forward_ms` starts. Both end with the logits on the host. The
host's monotonic clock serves, since a gate's decision synchronises host and device anyway.
"""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from itertools import cycle
from typing import Any

import numpy as np
from numpy.typing import NDArray

import gfnet
from gfnet.profiling import OTHER
from jobs.common.clock import now
from jobs.machine.devices import Device
from jobs.machine.heartbeat import beat
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


def warm_up(
    runtime: gfnet.Runtime,
    pipeline: Pipeline,
    device: Device,
    encoded: Sequence[bytes | None],
    *,
    gates: int,
    batch_size: int,
    images: int,
    before_last_pass: Callable[[], None] | None = None,
) -> None:
    """Route at least `images` images, taking every exit's path in turn; nothing is recorded.

    Before the last pass over all paths `before_last_pass` is called: whatever it does to the
    caches, they are warm again when the clocks start.
    """
    paths = forced_exits(gates)
    batches = max(math.ceil(images / batch_size), len(paths))
    for number in range(batches):
        if before_last_pass and number == batches - len(paths):
            before_last_pass()
        places = [(number * batch_size + i) % len(encoded) for i in range(batch_size)]
        tensor, _ = pipeline.batch(encoded, places)
        if tensor is not None:
            runtime.route(tensor, paths[number % len(paths)]).logits.cpu()
        beat()
    device.synchronise()


def measure_routes(
    runtime: gfnet.Runtime,
    pipeline: Pipeline,
    device: Device,
    encoded: Sequence[bytes | None],
    *,
    thresholds: Sequence[float],
    batch_size: int,
    clock: Clock = time.perf_counter_ns,
) -> Measured:
    """Route every image of a shard under both clocks.

    Args:
        runtime: the model on its engine.
        pipeline: prepares its batches.
        device: that both are on.
        encoded: the shard's images.
        thresholds: one a gate.
        batch_size: images routed together.
        clock: a fake one in tests.
    """
    measured = Measured()
    with no_garbage_collection():
        for start in range(0, len(encoded), batch_size):
            beat()
            places = range(start, min(start + batch_size, len(encoded)))
            started_at = now()
            device.synchronise()
            begin = clock()
            tensor, kept = pipeline.batch(encoded, places)
            if tensor is None:
                continue
            device.synchronise()
            ready = clock()
            routed = runtime.route(tensor, thresholds)
            logits = routed.logits.cpu()
            device.synchronise()
            end = clock()
            _record(measured, kept, logits, routed, started_at)
            measured.forward_ms += [(end - ready) * MS_PER_NS / len(kept)] * len(kept)
            measured.elapsed_ms += [(end - begin) * MS_PER_NS / len(kept)] * len(kept)
    return measured


@dataclass
class MeasuredExits:
    """Images sent out at every exit in turn; each list has one value an image and exit.

    Attributes:
        places: of the images in the shard.
        exits: the exit, counted from 0, the last block's last.
        forward_ms: an image's share of its batch.
    """

    places: list[int] = field(default_factory=list)
    exits: list[int] = field(default_factory=list)
    forward_ms: list[float] = field(default_factory=list)


def measure_exits(
    runtime: gfnet.Runtime,
    pipeline: Pipeline,
    device: Device,
    encoded: Sequence[bytes | None],
    *,
    gates: int,
    batch_size: int,
    clock: Clock = time.perf_counter_ns,
) -> MeasuredExits:
    """Send every image of a shard out at every exit: what leaving there costs, gates included.

    The exits take turns image by image, forwards and backwards, so that a drift of the machine
    falls on all alike. Arguments as `measure_routes`.
    """
    measured = MeasuredExits()
    paths = list(enumerate(forced_exits(gates)))
    with no_garbage_collection():
        for start in range(0, len(encoded), batch_size):
            places = range(start, min(start + batch_size, len(encoded)))
            for number, thresholds in paths:
                beat()
                # Prepared anew each time, as a routed image is: decoding leaves the caches to it.
                tensor, kept = pipeline.batch(encoded, places)
                if tensor is None:
                    break
                device.synchronise()
                begin = clock()
                runtime.route(tensor, thresholds).logits.cpu()
                device.synchronise()
                forward_ms = (clock() - begin) * MS_PER_NS / len(kept)
                measured.places += kept
                measured.exits += [number] * len(kept)
                measured.forward_ms += [forward_ms] * len(kept)
            else:
                paths.reverse()
    return measured


def run_on(
    runtime: gfnet.Runtime,
    pipeline: Pipeline,
    device: Device,
    encoded: Sequence[bytes | None],
    *,
    thresholds: Sequence[float],
    batch_size: int,
    goes_on: Callable[[], bool],
) -> None:
    """Route a shard's batches, over and over while `goes_on()`, as `measure_routes` does.

    Nothing is recorded: this is for a window of power that must be long enough.
    """
    with no_garbage_collection():
        starts = cycle(range(0, len(encoded), batch_size))
        while goes_on():
            beat()
            start = next(starts)
            device.synchronise()
            tensor, _ = pipeline.batch(encoded, range(start, min(start + batch_size, len(encoded))))
            if tensor is not None:
                device.synchronise()
                runtime.route(tensor, thresholds).logits.cpu()
                device.synchronise()


@dataclass(frozen=True)
class PartTime:
    """What one part of the forward passes took, over all images.

    Attributes:
        component, block: as `gfnet.profiling.Part`; or `profiling`, what the clocks inside cost.
        calls: how often it ran.
        total_ms: milliseconds.
        share: of the passes with clocks inside, 0..1; all parts but `profiling` sum to 1.
    """

    component: str
    block: int | None
    calls: int
    total_ms: float
    share: float


def measure_parts(
    model: gfnet.GFNet,
    pipeline: Pipeline,
    device: Device,
    encoded: Sequence[bytes | None],
    *,
    gates: int,
    batch_size: int,
    clock: Clock = time.perf_counter_ns,
) -> list[PartTime]:
    """Send every image of a shard past all gates to the last block, with a clock around each part.

    Each batch also runs without those clocks, in turned order: with, without, without, with. The
    difference is what profiling cost; noise may make it negative. Arguments as `measure_routes`.

    Returns: nothing where no image could be decoded.
    """
    profiler = gfnet.Profiler(model, device.synchronise, clock)
    stay = forced_exits(gates)[-1]
    plain_ns = 0
    order = [True, False]

    def forward(images: Any) -> Any:
        return model.route(images, stay).logits.cpu()

    with no_garbage_collection():
        for start in range(0, len(encoded), batch_size):
            places = range(start, min(start + batch_size, len(encoded)))
            for is_profiled in order:
                beat()
                tensor, _ = pipeline.batch(encoded, places)
                if tensor is None:
                    break
                if is_profiled:
                    profiler.run(forward, tensor)
                    continue
                device.synchronise()
                begin = clock()
                forward(tensor)
                device.synchronise()
                plain_ns += clock() - begin
            else:
                order.reverse()
    total_ns = profiler.spent_ns.total()
    parts = [
        PartTime(*part, profiler.calls[part], spent * MS_PER_NS, spent / total_ns)
        for part, spent in profiler.spent_ns.items()
    ]
    if parts:
        cost_ns = total_ns - plain_ns
        passes = profiler.calls[OTHER]
        cost = PartTime("profiling", None, passes, cost_ns * MS_PER_NS, cost_ns / total_ns)
        parts.append(cost)
    return parts


def _record(
    measured: Measured,
    kept: list[int],
    logits: Any,
    routed: gfnet.RoutedOutputs,
    started_at: datetime,
) -> None:
    """Take down a batch's answers, outside both clocks."""
    measured.places += kept
    measured.logits += list(logits.float().numpy())
    measured.exit_blocks += routed.exit_block.tolist()
    measured.gate_scores += routed.gate_score.tolist()
    measured.started_at += [started_at] * len(kept)


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
