"""Serving: single images arrive at random, and one server answers them in turn.

Responses are counted from arrival, so waiting for earlier requests is part of them. Images are on
the device beforehand, as where `forward_ms` starts (`jobs.worker.timing`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from statistics import median
from typing import Any

import numpy as np

import gfnet
import storage
from jobs.machine.conditions import Watch, machine_of
from jobs.machine.devices import Device
from jobs.machine.heartbeat import count_batch
from jobs.worker.rows import round_row
from jobs.worker.shard import Work
from jobs.worker.timing import MS_PER_NS, Clock, forced_exits, no_garbage_collection

SPIN_NS = 1_000_000
"""The end of a wait for an arrival is spent watching the clock: a sleep may end too late."""

PAUSE_NS, PAUSES = 30_000_000, 5
"""How long, and how often at each exit, the server pauses before requests arrive: what it takes
longer after a pause is for the simulation, which has only times without one."""

_LONGEST_SLEEP_S = 1.0  # then a heartbeat, so that a pause between requests is no stall
_S_PER_NS = 1e-9


def serving_rows(work: Work) -> dict[str, Any]:
    """Serve the shard's images at the task's arrivals: one row per request in `responses`."""
    import torch

    task, shard = work.task, work.timed
    assert task.arrivals is not None
    watch = Watch(machine_of(work.device))
    with torch.inference_mode():
        prepared = [work.pipeline.batch(shard.encoded, [n]) for n in range(len(shard.encoded))]
        images = [(place, tensor) for tensor, kept in prepared for place in kept]
        if not images:
            return {}
        work.warm_up(watch)
        server = Server(work.runtime, work.device, task.thresholds, [each for _, each in images])
        ratios = measure_pauses(
            [replace(server, thresholds=each).answer for each in forced_exits(work.gates)]
        )
        served = serve(
            server.answer,
            task.arrivals.schedule_ns(task.round),
            longest_wait_ns=round(task.arrivals.longest_wait_s / _S_PER_NS),
        )
    conditions = {**watch.end(), "pause_ratios": [ratios]}
    places = [images[number % len(images)][0] for number in range(len(served.arrived_ns))]
    columns: dict[str, Any] = {
        "run_id": task.run_id,
        "cell_id": task.cell_id,
        "round": task.round,
        "request": list(range(len(places))),
        "image_id": work.shard.image_ids[np.asarray(places, dtype=np.int64)],
        "exit_block": _padded(served.exit_blocks, len(places)),
        "arrived_ms": [moment * MS_PER_NS for moment in served.arrived_ns],
        "began_ms": _padded([moment * MS_PER_NS for moment in served.began_ns], len(places)),
        "ended_ms": _padded([moment * MS_PER_NS for moment in served.ended_ns], len(places)),
    }
    return {"responses": storage.build_table("responses", columns)} | round_row(task, conditions)


def _padded(values: Sequence[Any], length: int) -> list[Any]:
    """Values of the answered requests, then None for each that has no answer."""
    return [*values, *[None] * (length - len(values))]


@dataclass(frozen=True)
class Server:
    """A model that answers single images.

    Attributes:
        images: (1, 3, H, W) each, on the device; requests take them in turn.
    """

    runtime: gfnet.Runtime
    device: Device
    thresholds: Sequence[float]
    images: Sequence[Any]

    def answer(self, request: int) -> Callable[[], int]:
        """Answer a request; when it returns, the logits are on the host.

        Returns: a function that gives the block after which the image exited, outside the clock.
        """
        routed = self.runtime.route(self.images[request % len(self.images)], self.thresholds)
        routed.logits.cpu()
        self.device.synchronise()
        return lambda: int(routed.exit_block[0])


@dataclass
class Served:
    """The requests of a round, in order of arrival; nanoseconds since its start.

    Attributes:
        arrived_ns: of every request.
        began_ns, ended_ns, exit_blocks: of those that were answered, the first ones.
    """

    arrived_ns: Sequence[int]
    began_ns: list[int] = field(default_factory=list)
    ended_ns: list[int] = field(default_factory=list)
    exit_blocks: list[int] = field(default_factory=list)


@no_garbage_collection()
def serve(
    answer: Callable[[int], Callable[[], int]],
    arrivals_ns: Sequence[int],
    *,
    longest_wait_ns: int,
    clock: Clock = time.perf_counter_ns,
    sleep: Callable[[float], None] = time.sleep,
) -> Served:
    """Answer requests one after the other, none before it arrives and each as soon as it can be.

    Args:
        answer: answers a request by its number, and returns what tells its exit.
        arrivals_ns: when each request arrives, since the start, ascending.
        longest_wait_ns: the round is ended when a request would begin later than this after its
            arrival; that one and all after it have no answer.
        clock: a fake one in tests.
        sleep: seconds; likewise.
    """
    served = Served(arrivals_ns)
    start = clock()
    for request, arrived in enumerate(arrivals_ns):
        _wait_until(start + arrived, clock, sleep)
        began = clock() - start
        if began - arrived > longest_wait_ns:
            break
        exit_block = answer(request)
        served.ended_ns.append(clock() - start)
        served.began_ns.append(began)
        served.exit_blocks.append(exit_block())
        count_batch()
    return served


@no_garbage_collection()
def measure_pauses(
    answers: Sequence[Callable[[int], object]],
    *,
    clock: Clock = time.perf_counter_ns,
    sleep: Callable[[float], None] = time.sleep,
) -> list[float]:
    """Return how many times as long each answer takes after a pause, as without one.

    After a pause, what others used meanwhile is in the caches: an answer takes longer, the next
    one a little, and the third is that of a server that never pauses. Medians of PAUSES.

    Args:
        answers: the same request, forced out at each exit.
        clock: a fake one in tests.
        sleep: seconds; likewise.
    """
    took_ns: list[list[list[int]]] = [[] for _ in answers]
    for request in range(PAUSES):
        for answer, taken in zip(answers, took_ns, strict=True):
            _wait_until(clock() + PAUSE_NS, clock, sleep)
            moments = [clock()]
            for _ in range(3):
                answer(request)
                moments.append(clock())
            taken.append([end - begin for begin, end in pairwise(moments)])
    return [
        median(after for after, _, _ in taken) / max(median(third for _, _, third in taken), 1)
        for taken in took_ns
    ]


def _wait_until(moment_ns: int, clock: Clock, sleep: Callable[[float], None]) -> None:
    """Sleep until shortly before a moment, then watch the clock; do not wait if it has passed."""
    while (left_ns := moment_ns - clock()) > 0:
        if left_ns > SPIN_NS:
            sleep(min((left_ns - SPIN_NS) * _S_PER_NS, _LONGEST_SLEEP_S))
            count_batch()
