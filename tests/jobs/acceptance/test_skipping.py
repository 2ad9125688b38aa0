"""Skipping: by time and by blocks; an engine that computes everything is found out."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import gfnet
from jobs.acceptance import skipping
from jobs.acceptance.bench import Bench
from jobs.acceptance.finding import FAIL, OK
from jobs.acceptance.skipping import ExitTimes, judge_blocks, judge_times, time_exits
from jobs.machine.devices import use_device


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
    finding = judge_times("x", ExitTimes(1, (1, 7), forward_ms))
    assert finding.figures["share_of_ideal"] == pytest.approx(share)
    assert finding.verdict == verdict


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
        finding = skipping._count_blocks(bench)
    finally:
        torch.set_num_threads(threads)
    assert finding.verdict == OK
    assert finding.found is not None
    counts = [int(number) for number in finding.found.strip("[]").split(",")]
    assert counts[0] == 64
    assert 0 < counts[-1] < 64


class _ComputesAll:
    """An engine that computes every exit of every image, and then chooses."""

    def __init__(self, model: gfnet.GFNet) -> None:
        self._model = model

    def route(self, images: Any, threshold: Any) -> Any:
        """The right answer, at the price of all of them."""
        self._model.forward_exits(images)
        exit_ = [value < 0 for value in threshold].index(True) if min(threshold) < 0 else -1
        return gfnet.RoutedOutputs(self._model.forward_exits(images).logits[exit_], None, None)


def test_an_engine_that_computes_all_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """In each of the tries; its times are real, and as long at every exit."""
    bench = Bench(use_device("cpu"), ("torch",))
    monkeypatch.setattr(Bench, "engine", lambda _self, _name, model: _ComputesAll(model))
    monkeypatch.setattr(skipping, "ROUNDS", {1: 6})
    times = time_exits("torch", 1, bench)
    assert judge_times("x", times).verdict == FAIL
