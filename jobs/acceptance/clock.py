"""The clock: the host's synchronised time of a pass against the GPU's own, by CUDA events."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from typing import Any

from jobs.acceptance.bench import Bench, timed_images
from jobs.acceptance.check_result import CheckResult
from jobs.worker.timing import forced_exits, measure_routes, warm_up

EARLIEST_MS = -0.02
"""How much the host may be short of the events: their resolution is 0.5 us, and the first is
recorded after the host's clock starts."""

LATEST_MS, LATEST_SHARE = 1.0, 0.15
"""How much longer the host may take: a copy of the logits, a synchronisation, two events, and a
share of the time for hosts that are slow to wake."""

BATCHES = (1, 64)
PASSES = 20
PLUG = 8192
"""Rows of a square matrix whose product with itself takes 16 ms on the fastest GPU."""

QUEUED = 2
"""Passes that are queued behind two long products: their launches are over when they start. A queue
holds some thousand launches, a pass has some three hundred."""


def check_clock(bench: Bench) -> Iterator[CheckResult]:
    """Time passes to the last block on both clocks, and once more without waiting for launches."""
    for batch in BATCHES:
        name = f"host's clock and CUDA events, batch {batch}"
        if not bench.is_gpu:
            reason = "a processor has no CUDA events: its calls return when they are done"
            yield CheckResult.skipped(name, "both agree", reason)
            continue
        host_ms, events_ms, queued_ms = _times(batch, bench)
        yield judge_clocks(batch, host_ms, events_ms)
        yield judge_launches(batch, host_ms, queued_ms)


def judge_clocks(batch: int, host_ms: float, events_ms: float) -> CheckResult:
    """Judge the median of the host's synchronised times by that of the events'."""
    late_ms = host_ms - events_ms
    most_ms = LATEST_MS + LATEST_SHARE * events_ms
    return CheckResult.judged(
        f"host's clock and CUDA events, batch {batch}",
        f"the host {EARLIEST_MS:g} to {most_ms:+.2f} ms later: it also copies the logits",
        f"host {host_ms:.3f} ms, events {events_ms:.3f} ms: {late_ms:+.3f} ms",
        {"host_ms": host_ms, "events_ms": events_ms},
        is_ok=EARLIEST_MS <= late_ms <= most_ms,
    )


def judge_launches(batch: int, host_ms: float, queued_ms: float) -> CheckResult:
    """Judge the time of queued passes, and tell which share of a timed pass waits for launches."""
    share = 1 - queued_ms / host_ms if host_ms > 0 else float("nan")
    return CheckResult.judged(
        f"launch-bound share, batch {batch}",
        "0 to 1: a pass that waits for no launch takes no longer than a timed one",
        f"{share:.2f}: {queued_ms:.3f} ms of {host_ms:.3f} ms are the GPU's work",
        {"launch_bound_share": share, "queued_ms": queued_ms},
        is_ok=queued_ms > 0 and share > -LATEST_SHARE,
    )


class _Evented:
    """An engine that records an event before and after each route."""

    def __init__(self, runtime: Any) -> None:
        self._runtime = runtime
        self.pairs: list[tuple[Any, Any]] = []

    def route(self, images: Any, threshold: Any) -> Any:
        """Route, between two events."""
        pair = _event(), _event()
        pair[0].record()
        routed = self._runtime.route(images, threshold)
        pair[1].record()
        self.pairs.append(pair)
        return routed


def _times(batch: int, bench: Bench) -> tuple[float, float, float]:
    """Return median milliseconds of a pass: the host's, the events', and of a queued pass."""
    import torch

    model = bench.student_there
    engine = bench.engine("torch", model)
    images = bench.images(batch * PASSES, model, seed=6)
    shard = timed_images(images, bench.device, batch)
    gates = len(model.config.exit_blocks)
    evented: Any = _Evented(engine)
    with torch.inference_mode():
        warm_up(engine, shard, gates=gates, images=5 * batch)
        measured = measure_routes(evented, shard, forced_exits(gates)[-1])
        there = images[:batch].to(bench.device.name)
        queued = [_queued_ms(engine, there) for _ in range(5)]
    events = [start.elapsed_time(end) for start, end in evented.pairs]
    return (
        batch * statistics.median(measured.forward_ms),
        statistics.median(events),
        statistics.median(queued),
    )


def _queued_ms(engine: Any, images: Any) -> float:
    """Return the milliseconds of an all-exit pass that never waits for the host."""
    import torch

    plug = torch.ones(PLUG, PLUG, device=images.device)
    start, end = _event(), _event()
    torch.cuda.synchronize()
    for _ in range(2):
        plug @ plug  # while the passes are launched
    start.record()
    for _ in range(QUEUED):
        engine.forward_exits(images)
    end.record()
    torch.cuda.synchronize()
    elapsed: float = start.elapsed_time(end)
    return elapsed / QUEUED


def _event() -> Any:
    import torch

    kind: Any = torch.cuda.Event
    return kind(enable_timing=True)
