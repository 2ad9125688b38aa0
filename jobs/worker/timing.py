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
from typing import Any

import numpy as np
from numpy.typing import NDArray

import gfnet
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
