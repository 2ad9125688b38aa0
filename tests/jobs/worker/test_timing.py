"""The two clocks, with a clock that ticks by hand."""

from __future__ import annotations

import gc
import io
import math
import weakref
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import gfnet
from jobs.machine.devices import Device
from jobs.worker import timing
from jobs.worker.exit_costs import measure_exits, run_on
from jobs.worker.input_pipeline import Pipeline
from jobs.worker.profile import PartTime, measure_parts
from jobs.worker.timing import (
    TimedShard,
    forced_exits,
    measure_routes,
    no_garbage_collection,
    warm_up,
)


class Bench:
    """A clock, a device and a model that take known times and write down what happened."""

    def __init__(self, decode_ns: int, forward_ns: list[int]) -> None:
        self.now_ns = 0
        self.log: list[str] = []
        self.decode_ns, self.forward_ns = decode_ns, forward_ns
        self.device = Device("cpu", lambda: self.log.append("sync"), "cpu")
        self.pipeline = Pipeline(
            gfnet.Preprocessing(4, 4, mean=(0, 0, 0), std=(1, 1, 1)), self.device
        )
        self.thresholds: list[tuple[float, ...]] = []
        self.collecting: list[bool] = []
        prepare = self.pipeline.batch

        def batch(encoded: object, places: object) -> object:
            self.log.append("prepare")
            self.now_ns += self.decode_ns
            return prepare(encoded, places)

        self.pipeline.batch = batch

    def clock(self) -> int:
        """Read the time."""
        self.log.append("clock")
        return self.now_ns

    def shard(self, encoded: list[bytes | None], batch_size: int) -> TimedShard:
        """Images for this model, under this clock."""
        return TimedShard(self.pipeline, encoded, batch_size, self.clock)

    def route(self, images: torch.Tensor, threshold: tuple[float, ...]) -> gfnet.RoutedOutputs:
        """Answer every image with its mean pixel, after the next known time."""
        self.log.append("route")
        self.thresholds.append(tuple(threshold))
        self.collecting.append(gc.isenabled())
        self.now_ns += self.forward_ns[(len(self.thresholds) - 1) % len(self.forward_ns)]
        value = images.mean(dim=(1, 2, 3))
        return gfnet.RoutedOutputs(
            torch.stack([value, 1 - value], dim=1), (value > 0.5).long(), value
        )


def png(value: int) -> bytes:
    """One grey image of four by four pixels."""
    file = io.BytesIO()
    Image.fromarray(np.full((4, 4), value, np.uint8)).save(file, "PNG")
    return file.getvalue()


def test_clocks_start_and_end_where_the_protocol_says() -> None:
    """One covers preparing and routing, the other routing alone; the device is in step."""
    bench = Bench(decode_ns=3_000_000, forward_ns=[5_000_000, 7_000_000])
    measured = measure_routes(bench, bench.shard([png(0), png(255)], 1), thresholds=(0.5,))
    assert measured.forward_ms == pytest.approx([5, 7])
    assert measured.elapsed_ms == pytest.approx([8, 10])
    image = ["sync", "clock", "prepare", "sync", "clock", "route", "sync", "clock"]
    assert bench.log == image * 2
    assert measured.places == [0, 1]
    assert measured.exit_blocks == [0, 1]
    assert measured.gate_scores == pytest.approx([0, 1])
    assert [row.tolist() for row in measured.logits] == [[0, 1], [1, 0]]
    assert measured.started_at[0].tzinfo is None


def test_a_batch_shares_its_time() -> None:
    """Two images in 10 ms are 5 ms each, so that 1000 / elapsed_ms is throughput."""
    bench = Bench(decode_ns=4_000_000, forward_ns=[6_000_000])
    measured = measure_routes(bench, bench.shard([png(0), png(9), png(20)], 2), thresholds=())
    assert measured.forward_ms == pytest.approx([3, 3, 6])
    assert measured.elapsed_ms == pytest.approx([5, 5, 10])


class Events:
    """The device's own clock, which starts late and stops early, and writes down when."""

    def __init__(self, bench: Bench) -> None:
        self.log = bench.log

    def start(self) -> None:
        """As an event."""
        self.log.append("start")

    def stop(self) -> None:
        """As an event."""
        self.log.append("stop")

    def elapsed_ms(self) -> float:
        """Known, once the device is in step."""
        assert self.log[-2:] == ["sync", "clock"]
        return 4.0


def test_the_devices_own_clock_is_around_the_pass() -> None:
    """Inside the host's, before the logits are copied; a batch shares it; no clock is None."""
    bench = Bench(decode_ns=1, forward_ns=[6_000_000])
    shard = bench.shard([png(0), png(9)], 2)
    assert measure_routes(bench, shard, thresholds=()).device_ms == [None, None]
    bench.pipeline.device = replace(bench.device, timer=Events(bench))
    bench.log.clear()
    measured = measure_routes(bench, shard, thresholds=())
    assert measured.device_ms == [2.0, 2.0]
    assert measured.forward_ms == pytest.approx([3, 3])
    timed = ["clock", "start", "route", "stop", "sync", "clock"]
    assert bench.log == ["sync", "clock", "prepare", "sync", *timed]


def test_undecodable_images_are_named_and_the_others_go_on() -> None:
    """Neither their row nor their time is recorded."""
    bench = Bench(decode_ns=1, forward_ns=[2_000_000])
    measured = measure_routes(
        bench, bench.shard([png(0), b"broken", None, png(9)], 2), thresholds=()
    )
    assert measured.places == [0, 3]
    assert measured.forward_ms == pytest.approx([2, 2])
    assert sorted(bench.pipeline.failures) == [1, 2]
    assert bench.pipeline.failures[2] == "no bytes"


def test_running_on_goes_round_the_shard_until_told_to_stop() -> None:
    """Batch after batch as it is timed, an image that cannot be decoded left out; no rows."""
    bench = Bench(decode_ns=1, forward_ns=[1])
    left = iter([True] * 5 + [False])
    shard = bench.shard([png(0), b"no image", png(2)], 1)
    run_on(bench, shard, thresholds=(math.inf,), goes_on=lambda: next(left))
    spoilt = ["sync", "clock", "prepare"]
    whole = [*spoilt, "sync", "route", "sync"]
    assert bench.log == [*whole, *spoilt, *whole, *whole, *spoilt]
    assert set(bench.thresholds) == {(math.inf,)}
    assert bench.collecting == [False] * 3


def test_inside_a_window_of_power_garbage_is_collected_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Before the window opens: a collection is not the model's power either."""
    bench, collected = Bench(decode_ns=1, forward_ns=[1]), []
    monkeypatch.setattr(gc, "collect", lambda: collected.append(len(bench.log)))
    with no_garbage_collection():
        for _ in range(2):
            measure_routes(bench, bench.shard([png(0)], 1), thresholds=())
            assert not gc.isenabled()
    assert collected == [0]
    assert gc.isenabled()


def test_garbage_is_not_collected_inside_the_clock() -> None:
    """And collecting goes on afterwards, also after a failure."""
    bench = Bench(decode_ns=1, forward_ns=[1])
    arguments = (bench, bench.shard([png(0)], 1))
    measure_routes(*arguments, thresholds=())
    assert bench.collecting == [False]
    assert gc.isenabled()
    bench.forward_ns = []
    with pytest.raises(ZeroDivisionError):
        measure_routes(*arguments, thresholds=())
    assert gc.isenabled()


def test_what_a_process_holds_at_its_first_clock_is_not_looked_through_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All of torch is: that took longer than a round of a small model. Later garbage still goes."""
    steps: list[str] = []
    collect = gc.collect

    def collected() -> None:
        steps.append("collected")
        collect()

    monkeypatch.setattr(gc, "collect", collected)
    monkeypatch.setattr(gc, "freeze", lambda: steps.append("frozen"))
    monkeypatch.setattr(timing, "_freeze_once", cache(timing._freeze_once.__wrapped__))
    with no_garbage_collection():
        assert steps == ["collected", "frozen"], "no garbage is kept for ever"

    class Node: ...

    node: Any = Node()
    node.itself = node
    later = weakref.ref(node)
    del node
    with no_garbage_collection():
        assert later() is None
    assert steps == ["collected", "frozen", "collected"]


def test_every_exit_is_timed_for_every_image_in_turned_order() -> None:
    """Prepared before each, outside the clock; the second image takes the exits backwards."""
    bench = Bench(decode_ns=9_000_000, forward_ns=[1_000_000, 2_000_000, 4_000_000])
    measured = measure_exits(bench, bench.shard([png(0), b"broken", png(255)], 1), gates=2)
    assert (measured.places, measured.exits) == ([0, 0, 0, 2, 2, 2], [0, 1, 2, 2, 1, 0])
    assert measured.forward_ms == pytest.approx([1, 2, 4, 1, 2, 4])
    forced = forced_exits(2)
    assert bench.thresholds == [*forced, *reversed(forced)]
    spoilt = ["sync", "clock", "prepare"]
    image = [*spoilt, "sync", "clock", "route", "sync", "clock"] * 3
    assert bench.log == [*image, *spoilt, *image]
    assert not any(bench.collecting)


class SlowModel:
    """A model on the bench's clock: its embedding and its heads take known times."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.model = gfnet.create(
            "gfnet-distil-dynn",
            img_size=4,
            patch_size=1,
            embed_dim=4,
            depth=2,
            num_classes=3,
            exit_blocks=(0,),
        )
        self.thresholds: list[tuple[float, ...]] = []
        for name, took_ns in (("patch_embed", 5_000_000), ("head", 3_000_000)):
            self.slow(name, took_ns)
        route = self.model.route

        def logged(images: torch.Tensor, threshold: tuple[float, ...]) -> gfnet.RoutedOutputs:
            is_profiled = "embed" in vars(self.model)
            bench.log.append("profiled" if is_profiled else "plain")
            bench.now_ns += 1_000_000 if is_profiled else 0  # what profiling costs here
            bench.collecting.append(gc.isenabled())
            self.thresholds.append(tuple(threshold))
            return route(images, threshold)

        vars(self.model)["route"] = logged

    def slow(self, name: str, took_ns: int) -> None:
        """Let a module take a known time."""
        module = self.model.get_submodule(name)
        forward = module.forward

        def timed(tokens: torch.Tensor) -> torch.Tensor:
            self.bench.now_ns += took_ns
            answer: torch.Tensor = forward(tokens)
            return answer

        vars(module)["forward"] = timed


def test_parts_and_what_profiling_cost_by_hand() -> None:
    """Two images at 9 ms with clocks inside and 8 without; the shares of the parts sum to 1."""
    bench = Bench(decode_ns=9_000_000, forward_ns=[])
    slow = SlowModel(bench)
    with torch.inference_mode():
        shard = bench.shard([png(0), b"broken", png(255)], 1)
        parts = measure_parts(slow.model, shard, gates=1)
    by_name = {(part.component, part.block): part for part in parts}
    assert len(by_name) == len(parts)
    assert by_name["patch_embed", None] == PartTime("patch_embed", None, 2, 10.0, 10 / 18)
    assert by_name["head", None] == PartTime("head", None, 2, 6.0, 6 / 18)
    assert by_name["other", None] == PartTime("other", None, 2, 2.0, 2 / 18)
    assert by_name["profiling", None] == PartTime("profiling", None, 2, 2.0, 2 / 18)
    assert by_name["exit_gate", 0] == PartTime("exit_gate", 0, 2, 0.0, 0.0)
    leaves = [part for part in parts if part.component != "profiling"]
    assert sum(part.share for part in leaves) == pytest.approx(1)
    assert sum(part.total_ms for part in leaves) == pytest.approx(18)
    runs = [entry for entry in bench.log if entry in ("plain", "profiled", "prepare")]
    image = ["prepare", "profiled", "prepare", "plain"]
    assert runs == [*image, "prepare", "prepare", "plain", "prepare", "profiled"]
    assert set(slow.thresholds) == {(math.inf,)}, "every gate is asked, and nobody leaves"
    assert not any(bench.collecting)


def test_parts_of_nothing() -> None:
    """Where no image can be decoded there is nothing to divide."""
    bench = Bench(decode_ns=1, forward_ns=[])
    model = SlowModel(bench).model
    assert measure_parts(model, bench.shard([b"broken", None], 1), gates=1) == []


def test_forced_exits() -> None:
    """One vector an exit: +inf before it, -inf from it on; the last leaves nowhere."""
    inf = math.inf
    assert forced_exits(2) == [(-inf, -inf), (inf, -inf), (inf, inf)]
    assert forced_exits(0) == [()]


@pytest.mark.parametrize(("images", "batch", "batches"), [(7, 1, 7), (1, 1, 3), (8, 3, 3)])
def test_warm_up_takes_every_exits_path(images: int, batch: int, batches: int) -> None:
    """At least the images asked for, each path at least once, and once after a look around."""
    bench = Bench(decode_ns=1, forward_ns=[1])
    looked: list[int] = []
    warm_up(
        bench,
        bench.shard([png(0), png(1)], batch),
        gates=2,
        images=images,
        before_last_pass=lambda: looked.append(len(bench.thresholds)),
    )
    assert len(bench.thresholds) == batches
    assert looked == [batches - 3]
    assert set(bench.thresholds[-3:]) == set(forced_exits(2))
    assert set(bench.thresholds) == set(forced_exits(2))
