"""A queue by a clock that moves by hand, and the rows of served images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import cycle

import numpy as np
import pytest
from support.worker import Bench

from jobs.machine import heartbeat
from jobs.plan.arrivals import Arrivals
from jobs.plan.plan import Plan
from jobs.plan.sources import shuffle_images
from jobs.statistics.queueing import queue_responses
from jobs.worker.run_task import run_task
from jobs.worker.serving import PAUSE_NS, PAUSES, SPIN_NS, Served, measure_pauses, serve

MS = 1_000_000
FOREVER = 10**18


class Server:
    """A clock, and a server whose answers take known times."""

    def __init__(self, service_ms: list[float], tick_ns: int = 1000) -> None:
        self.now_ns = 7_000  # no round starts at 0
        self.service_ms, self.tick_ns = service_ms, tick_ns
        self.slept_s: list[float] = []
        self.asked: list[int] = []

    def clock(self) -> int:
        """Read the time, which takes some."""
        self.now_ns += self.tick_ns
        return self.now_ns

    def sleep(self, seconds: float) -> None:
        """Sleep a little longer than asked."""
        self.slept_s.append(seconds)
        self.now_ns += round(seconds * 1e9) + 50_000

    def answer(self, request: int) -> Callable[[], int]:
        """Take the request's time."""
        self.asked.append(request)
        self.now_ns += round(self.service_ms[request] * MS)
        return lambda: request % 3

    def serve(self, arrivals_ms: list[float], longest_wait_ns: int = FOREVER) -> Served:
        """Serve a schedule."""
        return serve(
            self.answer,
            [round(ms * MS) for ms in arrivals_ms],
            longest_wait_ns=longest_wait_ns,
            clock=self.clock,
            sleep=self.sleep,
        )


def test_late_requests_begin_at_once() -> None:
    """Hand-worked: the second waits 2 ms, the third 1 ms, the last finds the server idle."""
    served = Server([3, 3, 2, 4]).serve([0, 1, 5, 20])
    responses = np.array(served.ended_ns) - served.arrived_ns
    assert np.allclose(responses / MS, [3, 5, 3, 4], atol=0.02)
    waits = np.array(served.began_ns) - served.arrived_ns
    assert np.allclose(waits / MS, [0, 2, 1, 0], atol=0.02)
    assert served.exit_blocks == [0, 1, 2, 0]


def test_as_the_recursion_says() -> None:
    """Any schedule and times: what was measured is what the queue of the simulation gives."""
    arrivals = [moment / MS for moment in Arrivals(100, 3).schedule_ns(0)]
    service = np.random.default_rng(0).gamma(2.0, 4.0, len(arrivals))
    served = Server(service.tolist()).serve(arrivals)
    found = (np.array(served.ended_ns) - served.arrived_ns) / MS
    # Reading the clock takes 1 µs, which adds up in a busy period.
    assert np.allclose(found, queue_responses(np.array(arrivals), service), rtol=0.02, atol=0.05)


def test_nothing_begins_before_it_arrives() -> None:
    """A sleep ends before the arrival, and the clock is watched from there."""
    server = Server([1, 1])
    served = server.serve([50, 100])
    assert [round(seconds * 1e3) for seconds in server.slept_s] == [49, 48]
    late = np.array(served.began_ns) - served.arrived_ns
    assert (late >= 0).all()
    assert (late < 0.02 * MS).all()
    assert server.slept_s[0] * 1e9 <= 50 * MS - SPIN_NS


def test_a_request_begins_at_the_first_reading_that_is_not_before_it() -> None:
    """Of a clock that moves by 1 ns with each reading; it is read once more for the start."""
    assert Server([1], tick_ns=1).serve([10 / MS]).began_ns == [11]


def test_what_is_left_of_a_wait_is_not_slept() -> None:
    """Not even if it is just as long as the clock is watched for."""
    server = Server([1])
    server.serve([(SPIN_NS + server.tick_ns) / MS])
    assert server.slept_s == []


def test_a_long_pause_gives_heartbeats(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a rare request would be taken for a stalled worker."""
    beats: list[int] = []
    monkeypatch.setattr("jobs.worker.serving.count_batch", lambda: beats.append(1))
    server = Server([1])
    server.serve([5_000])
    assert max(server.slept_s) <= 1
    assert len(beats) == len(server.slept_s) + 1
    assert heartbeat.count_batch is not None


def test_a_round_that_cannot_keep_up_is_ended() -> None:
    """The first request that would wait for too long has no answer, and none after it."""
    server = Server([10] * 9)
    served = server.serve([0, 1, 2, 3, 4, 5, 6, 7, 8], longest_wait_ns=25 * MS)
    assert server.asked == [0, 1, 2]  # the fourth would begin at 30, 27 after its arrival
    assert len(served.arrived_ns) == 9
    assert len(served.ended_ns) == len(served.began_ns) == len(served.exit_blocks) == 3


def test_what_a_pause_costs_each_exit() -> None:
    """By hand: 3 ms after a pause where the third answer takes 2; at the other exit 5 and 4."""
    server = Server([])
    paused_ns: list[int] = []

    def answer(*service_ms: float) -> Callable[[int], object]:
        each = cycle(service_ms)

        def take(request: int) -> None:
            server.asked.append(request)
            server.now_ns += round(next(each) * MS)

        return take

    def sleep(seconds: float) -> None:
        server.sleep(seconds)
        paused_ns.append(server.now_ns)

    answers = [answer(3, 2.5, 2), answer(5, 4.5, 4)]
    ratios = measure_pauses(answers, clock=server.clock, sleep=sleep)
    assert ratios == pytest.approx([1.5, 1.25], rel=1e-3)
    assert len(paused_ns) == 2 * PAUSES
    assert max(server.slept_s) * 1e9 <= PAUSE_NS - SPIN_NS
    assert server.asked == [request for request in range(PAUSES) for _ in range(6)]


GRID = """\
models: [flat.safetensors, dynn.safetensors]
datasets: [{name: digits, limit: 20}]
thresholds: [[0.4, 0.6]]
threads: [1]
batch_sizes: {throughput: [8]}
measure: [throughput, serving]
latency: {rounds: 1, warmup_images: 2}
serving: {arrivals: [100], seconds: 0.5}
"""


def test_a_request_is_a_row(plan_of: Callable[[str], Plan]) -> None:
    """Images in turn, each with the exit that routing gives it; times that follow each other."""
    bench = Bench(plan_of(GRID))
    task = bench.task("serving", "dynn")
    rows = bench.rows(task, "responses")
    requests = len(Arrivals(100, 0.5).schedule_ns(0))
    assert rows["request"] == list(range(requests))
    order = shuffle_images(450)[:20]
    assert rows["image_id"] == [order[number % 20] for number in range(requests)]
    times = [np.array(rows[name]) for name in ("arrived_ms", "began_ms", "ended_ms")]
    arrived, began, ended = times
    assert (arrived <= began).all()
    assert (began < ended).all()
    assert (began[1:] >= ended[:-1]).all()
    latency = bench.task("throughput", "dynn")
    assert latency.thresholds == task.thresholds
    routed = bench.model(task).route(bench.images(task)[0], task.thresholds)
    exits = dict(zip(order, routed.exit_block.tolist(), strict=True))
    assert rows["exit_block"] == [exits[image] for image in rows["image_id"]]


def test_requests_exit_at_the_thresholds_of_the_task(plan_of: Callable[[str], Plan]) -> None:
    """All at the first gate if it lets all exit, and none at any gate that lets none."""
    bench = Bench(plan_of(GRID))
    task = bench.task("serving", "dynn")
    early = set(bench.rows(replace(task, thresholds=(0.0, 0.0)), "responses")["exit_block"])
    assert early == {task.exit_blocks[0]}
    late = set(bench.rows(replace(task, thresholds=(1.1, 1.1)), "responses")["exit_block"])
    assert late.isdisjoint(task.exit_blocks)


def test_a_round_without_a_request_has_no_rows(plan_of: Callable[[str], Plan]) -> None:
    """The first of one a second arrives after 0.4 s."""
    bench = Bench(plan_of(GRID))
    task = replace(bench.task("serving", "flat"), arrivals=Arrivals(1, 0.1))
    assert bench.rows(task, "responses")["request"] == []


def test_a_round_has_its_pauses(plan_of: Callable[[str], Plan]) -> None:
    """One ratio per exit, the last block's included; a static model has one."""
    bench = Bench(plan_of(GRID))
    for model, exits in (("dynn", 3), ("flat", 1)):
        task = bench.task("serving", model)
        weights = partial(bench.sources.weights, task)
        outcome = run_task(task, weights, bench.sources.shard(task))
        (ratios,) = outcome.tables["rounds"].column("pause_ratios").to_pylist()
        assert len(ratios) == exits
        assert min(ratios) > 0


def test_an_overloaded_round_keeps_its_requests(plan_of: Callable[[str], Plan]) -> None:
    """Those without an answer have none of its times."""
    bench = Bench(plan_of(GRID))
    task = replace(bench.task("serving", "flat"), arrivals=Arrivals(50_000, 0.1))
    rows = bench.rows(task, "responses")
    answered = sum(value is not None for value in rows["ended_ms"])
    assert 0 < answered < len(rows["request"])
    for name in ("exit_block", "began_ms", "ended_ms"):
        assert rows[name][answered:] == [None] * (len(rows["request"]) - answered)
    assert None not in rows["arrived_ms"]


def test_throughput_has_a_row_per_batch(plan_of: Callable[[str], Plan]) -> None:
    """Of whole batches alone: 16 of 20 images."""
    bench = Bench(plan_of(GRID))
    rows = bench.rows(bench.task("throughput", "flat"), "throughput")
    assert (rows["batch"], rows["images"], rows["round"]) == ([0, 1], [8, 8], [0, 0])
    for forward, elapsed in zip(rows["forward_ms"], rows["elapsed_ms"], strict=True):
        assert 0 < forward < elapsed
