"""Skipping: by time and by blocks; an engine that computes everything is found out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

import gfnet
from jobs.acceptance import skipping
from jobs.acceptance.bench import Bench, timed_images
from jobs.acceptance.check_result import FAIL, OK
from jobs.acceptance.skipping import ExitTimes, judge_blocks, judge_times, time_exits
from jobs.machine.devices import Device, use_device
from jobs.worker.timing import TimedShard


@pytest.mark.parametrize(
    ("forward_ms", "share", "verdict"),
    [
        ((2.0, 8.0), 1.0, OK),  # 2 of 8 blocks in a quarter of the time
        ((5.0, 8.0), 0.5, OK),
        ((6.8, 8.0), 0.2, FAIL),  # it saves less than a quarter of what it should
        ((8.0, 8.0), 0.0, FAIL),
        ((9.0, 8.0), -1 / 6, FAIL),
    ],
)
def test_time_must_fall_with_the_blocks(
    forward_ms: tuple[float, ...], share: float, verdict: str
) -> None:
    """By hand: the ideal saving after block 1 of 8 is 3/4 of the last exit's time."""
    result = judge_times("x", ExitTimes(1, (1, 7), forward_ms))
    assert result.figures["share_of_ideal"] == pytest.approx(share)
    assert result.verdict == verdict


def test_every_exit_takes_less_than_the_next() -> None:
    """Not only the first less than the last; and a batch must save more than a single image."""
    assert judge_times("x", ExitTimes(1, (1, 4, 7), (2.0, 8.1, 8.0))).verdict == FAIL
    assert judge_times("x", ExitTimes(64, (1, 7), (5.6, 8.0))).verdict == FAIL
    assert judge_times("x", ExitTimes(64, (1, 7), (4.0, 8.0))).verdict == OK


def test_blocks_run_on_those_that_remain() -> None:
    """One image more in one block is one too many."""
    assert judge_blocks([64, 30, 30], [64, 30, 30]).verdict == OK
    assert judge_blocks([64, 64, 30], [64, 30, 30]).verdict == FAIL


def test_the_models_own_blocks_are_counted() -> None:
    """Where nothing is dropped, each block runs on all: hooks see it."""
    bench = Bench(use_device("cpu"), ("torch",))
    threads = torch.get_num_threads()
    try:
        result = skipping._count_blocks(bench)
    finally:
        torch.set_num_threads(threads)
    assert result.verdict == OK
    assert result.found is not None
    counts = [int(number) for number in result.found.strip("[]").split(",")]
    assert counts[0] == 64
    assert 0 < counts[-1] < 64


class _Ticking:
    """An engine whose every block takes a millisecond of a made-up clock."""

    def __init__(self, model: gfnet.GFNet, *, skips: bool) -> None:
        self._model, self._skips = model, skips
        self.now_ns = 0

    def route(self, images: Any, threshold: Any) -> Any:
        """As the model; one that does not skip computes all blocks, and then chooses."""
        routed = self._model.route(images, threshold)
        last = self._model.config.last_block
        blocks = int(routed.exit_block.max()) if self._skips else last
        self.now_ns += (blocks + 1) * 1_000_000
        return routed


@pytest.mark.parametrize(("skips", "verdict", "share"), [(True, OK, 1.0), (False, FAIL, 0.0)])
def test_an_engine_that_computes_all_is_found_out(
    skips: bool, verdict: str, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the product's own timing of forced exits, in each of the tries."""
    bench = Bench(use_device("cpu"), ("torch",))
    engine = _Ticking(bench.student_there, skips=skips)

    def timed(images: Any, device: Device, batch_size: int) -> TimedShard:
        return replace(timed_images(images, device, batch_size), clock=lambda: engine.now_ns)

    monkeypatch.setattr(Bench, "engine", lambda *_: engine)
    monkeypatch.setattr(skipping, "timed_images", timed)
    result = judge_times("x", time_exits("torch", 1, bench))
    assert result.verdict == verdict
    assert result.figures["share_of_ideal"] == pytest.approx(share)
